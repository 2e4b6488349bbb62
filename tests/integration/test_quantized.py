"""Rule: releases load rewritten quantized weights bit for bit, and dequantize as remap does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import in_release
from helpers.running import Bench
from matrix.catalogue import forms, scenarios
from matrix.checkpoint import layout, rewriting, torchfile
from matrix.checkpoint.dropping import ATTENTION_STATES
from matrix.checkpoint.quantized import weights
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.doctor import NoRewriteError, remap
from matrix.store import keys

# On both sides of changes of form; 2.4 numbers types otherwise than 2.3.
RELEASES = ["1.13", "2.3", "2.4", "2.11", "2.16", "2.20.2"]
DTYPES = ("float16", "bfloat16")
RECIPES = {
    "linear.fp8-weights": "Float8Tensor",
    "linear.fp8-weights.current-scaling": "Float8Tensor",
    "linear.fp8-weights.mxfp8": "MXFP8Tensor",
    "linear.fp8-weights.block-scaling": "Float8BlockwiseQTensor",
    "linear.fp8-weights.nvfp4": "NVFP4Tensor",
}


def able(bench: Bench, scenario: str) -> list[str]:
    sized = scenarios.load()[scenario]
    return [name for name in RELEASES if sized.is_saved_by(bench.known[name])]


def saved(
    bench: Bench, scenario: str, release: str, folder: Path, file: Path | None = None
) -> Path:
    """The file of a release's save."""
    made = bench.plan([release], [release], scenario=scenario, scenario_file=file)
    bench.run(made)
    key = keys.save_key(bench.known[release].digest, made.scenarios[scenario].digest, "cpu")
    (save,) = bench.store.saves()[key]
    path = folder / f"{scenario}-{release}.pt"
    path.write_bytes(bench.store.checkpoint(save.file_digest))
    return path


def rewritten(path: Path, release: str, folder: Path, change: WeightChange | None = None) -> Path:
    form = forms.of_variant("own", release)
    new = folder / f"{path.stem}-for-{release}.pt"
    drop = [ATTENTION_STATES] if form.attention_key == "none" else []
    rewriting.rewrite_file(path, new, form, change or WeightChange(into=release), drop)
    return new


@pytest.mark.parametrize("scenario", ["fp8-weights", *RECIPES])
def test_every_pair_loads_rewritten_weights(bench: Bench, scenario: str) -> None:
    """MXFP8 of 2.3 to 2.9 excepted, which quantize anew what they load, their own saves too."""
    names = able(bench, scenario)
    made = bench.plan(names, names, scenario=scenario, variants=("rewrite:weights",))
    bench.run(made)
    for verdict in bench.judge(made, with_recorded=False).verdicts:
        loader = verdict.cell.loaded_by
        if scenario == "linear.fp8-weights.mxfp8" and loader in ("2.3", "2.4"):
            continue
        assert verdict.load.stage == "first_step", verdict.cell
        assert not verdict.load.changed_weights, verdict.cell
        wanted = "loaded" if scenario == "fp8-weights" else verdict.outcome
        assert verdict.outcome == wanted, verdict.cell
        assert all(all(moved.moved.values()) for moved in verdict.load.after_load), verdict.cell


@pytest.mark.parametrize("scenario", ["fp8-weights", *RECIPES])
def test_a_model_with_quantized_weights_takes_plain_ones(bench: Bench, scenario: str) -> None:
    names = able(bench, scenario)[-2:]
    made = bench.plan(names, names, scenario=scenario, variants=("rewrite:dequantized",))
    bench.run(made)
    for verdict in bench.judge(made, with_recorded=False).verdicts:
        assert verdict.load.stage == "first_step", verdict.cell
        assert not verdict.load.changed_weights, verdict.cell


@pytest.mark.parametrize("scenario", RECIPES)
def test_values_are_those_of_the_release(bench: Bench, scenario: str, tmp_path: Path) -> None:
    """Of NVFP4 nearly so: the stand-in, for want of the kernel, multiplies in another order."""
    sized = scenarios.load()[scenario]
    for release, dtype in zip(able(bench, scenario)[-2:], DTYPES, strict=True):
        path, own = saved(bench, scenario, release, tmp_path), tmp_path / "own.pt"
        in_release.run(release, "dequantize", path, own, dtype, sized.request)
        new = rewritten(path, release, tmp_path, WeightChange(dtype=dtype))
        values = torch.load(own, weights_only=False)
        found = torch.load(new, weights_only=False)
        assert values
        for key, value in values.items():
            assert type(found[key]) is torch.Tensor
            if RECIPES[scenario] == "NVFP4Tensor":
                torch.testing.assert_close(found[key], value, rtol=1e-2, atol=0)
            else:
                assert torch.equal(found[key], value.detach()), (release, dtype)


def parts(path: Path) -> dict[str, Any]:
    """Data, scales and types of the quantized weights of a file, in order."""
    with path.open("rb") as stream:
        file = torchfile.read(stream)
        calls, numbering = weights.search(file.root)
        read = [weights.read(call, numbering) for call in calls]
        return {
            str(number): (
                {name: file.storage(ref, 1 << 20) for name, ref in weight.tensors.items()},
                weight.fp_dtype,
                weight.shape,
            )
            for number, weight in enumerate(read)
        }


def states(path: Path) -> dict[str, Any]:
    """Scales and amaxes of a file, by key."""
    found = layout.find(path).read().states
    return {
        state.key: {name: tensor.data for name, tensor in state.tensors.items()}
        for state in found
        if state.tensors
    }


LAYERS = (
    '[[scenario]]\nname = "two-layers"\nsummary = "s"\nsize = "small"\nlayers = 2\n'
    'module = "Linear"\nweights = "fp8"\n'
)


def test_remap_writes_what_the_matrix_has_seen(bench: Bench, tmp_path: Path) -> None:
    """And nothing of quantized weights that it has not."""
    of_operations = saved(bench, "ops-linear.fp8-weights", "2.4", tmp_path)
    with pytest.raises(NoRewriteError):
        remap(of_operations, tmp_path / "unseen.pt", "1.13")
    assert not (tmp_path / "unseen.pt").exists()
    path = saved(bench, "linear.fp8-weights", "1.13", tmp_path)
    done = remap(path, tmp_path / "new.pt", "2.16")
    assert done.written
    assert done.weights == "1 quantized weight as 2.16 pickles its own, byte for byte"
    assert parts(tmp_path / "new.pt") == parts(path)
    assert layout.find(tmp_path / "new.pt").read().quantized.are(WeightChange(into="2.16"))


def test_remap_makes_plain_tensors(bench: Bench, tmp_path: Path) -> None:
    path = saved(bench, "linear.fp8-weights", "2.4", tmp_path)
    done = remap(path, tmp_path / "new.pt", "1.13", dequantize="fp16")
    assert done.written
    assert "1 quantized weight as plain tensors of float16" in done.weights
    found = torch.load(tmp_path / "new.pt", weights_only=False)
    assert found["weight"].dtype is torch.float16


def test_a_model_comes_back_from_four_releases_as_it_was(bench: Bench, tmp_path: Path) -> None:
    """Each loads it, and saves it anew with its own code."""
    file = tmp_path / "scenarios.toml"
    file.write_text(LAYERS)
    sized = scenarios.load(file)["two-layers"]
    path = first = saved(bench, "two-layers", "1.9", tmp_path, file)
    for release in ("2.18", "1.11", "2.4", "1.9"):
        into = rewritten(path, release, tmp_path)
        path = tmp_path / f"saved-by-{release}.pt"
        in_release.run(release, "resave", into, path, "", sized.request)
    assert len(parts(first)) == 2
    assert parts(path) == parts(first)
    assert states(path) == states(first)
