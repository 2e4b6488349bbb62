"""Rule: what ``remap`` writes loads bit-exactly in the target's real code, whatever the format."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from helpers.agreement import check_against_the_matrix
from helpers.formats import FORMATS, loaded, recorded_bytes, recorded_state, sparse, torch_zip
from matrix.checkpoint import publish
from matrix.doctor import inspect, remap
from matrix.lane.protocol import LoadAnswer
from matrix.lane.sources import FetchedSources
from matrix.store import keys

SAVERS = ["1.11", "1.13", "2.3", "2.16", "2.20.2"]
LAYERS = (
    '[[scenario]]\nname = "{name}"\nsummary = "s"\nsize = "small"\nlayers = {layers}\n'
    'weights = "high-precision"\nstate = "all"\nsave_recipe = {{}}\nload_recipe = {{}}\n'
    "transport = {{ weights_only = false, strict = true }}\n"
)
PREFIX = "model.module.decoder.layers."


@pytest.fixture
def saved(bench, tmp_path):
    """Have a release save a model of some layers; return its state dict, keys prefixed."""

    def save(release: str, layers: int):
        path = tmp_path / "layers.toml"
        name = f"layers-{layers}"
        path.write_text(LAYERS.format(name=name, layers=layers))
        made = bench.plan([release], [release], scenario=name, scenario_file=path)
        bench.run(made)
        key = keys.save_key(bench.known[release].digest, made.scenarios[name].digest, "cpu")
        (save,) = bench.store.saves()[key]
        data = bench.store.checkpoint(save.file_digest)
        file = tmp_path / "saved.pt"
        file.write_bytes(data)
        state = torch.load(file, weights_only=False)
        renamed = {}
        for key, value in state.items():
            layer, _, rest = key.partition(".")
            renamed[f"{PREFIX}{layer}.self_attention.{rest}"] = value
        return renamed

    return save


@pytest.mark.parametrize("layers", [2, 32])
@pytest.mark.parametrize("release", SAVERS)
def test_inspect_names_the_writer_in_each_format(saved, release, layers, tmp_path) -> None:
    state = saved(release, layers)
    for name, write in FORMATS.items():
        if name == "safetensors" and release.startswith("1."):
            continue
        folder = tmp_path / name
        folder.mkdir()
        report = inspect(write(state, folder))
        assert release in report.savers, name
        assert len(report.modules) == 3 * layers * (2 if name == "mp_rank" else 1)
        check_against_the_matrix(report, release, "autocast")


@pytest.mark.parametrize("layers", [2, 32])
def test_a_17_checkpoint_on_real_111_code(layers, tmp_path) -> None:
    from helpers.formats import layered

    path = torch_zip(layered(recorded_state("1.7"), layers), tmp_path)
    done = remap(path, tmp_path / "out.pt", "1.11")
    assert f"release 1.11 (lane cpu) strictly loaded {3 * layers} extra states" in done.verified
    assert "the metadata bit-exact and updated by the next step" in done.verified
    assert f"{2 * layers} of Linear, {layers} of DotProductAttention" in done.verified


@pytest.mark.parametrize(("release", "target"), [("2.20.2", "1.11"), ("1.13", "2.3")])
def test_there_and_back(saved, release, target, tmp_path) -> None:
    path = torch_zip(saved(release, 2), tmp_path)
    there = remap(path, tmp_path / "there.pt", target)
    assert f"release {target} (lane cpu) strictly loaded 6 extra states" in there.verified
    before, after = loaded(path), loaded(there.out)
    for key in before:
        if not key.endswith("_extra_state"):
            assert torch.equal(before[key], after[key])


def test_the_form_with_the_frozen_mark_is_tried_without_it(tmp_path) -> None:
    """1.7 saves its own modules with the mark; here only what remap wrote may decide."""
    key = "core_attention._orig_mod._extra_state"
    state = recorded_state("2.17.1")
    state[key] = state.pop("core_attention._extra_state")
    done = remap(torch_zip(state, tmp_path), tmp_path / "out.pt", "1.7")
    if done.verified.startswith("not tried"):
        pytest.skip(f"the source of 1.7 is in git only: {done.verified}")
    assert "2 of Linear, 1 of DotProductAttention" in done.verified
    assert "core_attention._orig_mod.fused_attention._extra_state" in loaded(done.out)


def test_a_history_that_overflowed_loads_bit_exactly(tmp_path) -> None:
    state = recorded_state("1.7")
    key = "core_attention.fused_attention._extra_state"
    inside = torch.load(io.BytesIO(state[key].getvalue()), weights_only=False)
    inside["amax_history_fwd"][0, 0] = float("nan")
    state[key] = io.BytesIO()
    torch.save(inside, state[key])
    done = remap(torch_zip(state, tmp_path), tmp_path / "out.pt", "1.11")
    assert "2 of Linear, 1 of DotProductAttention" in done.verified
    assert "where a value is not finite, as an overflow leaves it, no step" in done.verified


def test_a_target_out_of_reach_is_said_to_be_untried(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TE_MATRIX_CACHE", str(tmp_path / "cache"))
    path = torch_zip(recorded_state("1.11"), tmp_path)
    done = remap(path, tmp_path / "out.pt", "1.7", sources=FetchedSources("/nowhere"))
    assert done.written and done.verified.startswith("not tried: ")


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_killed_process_leaves_no_half_file(kind, tmp_path) -> None:
    if kind == "file":
        path = sparse(tmp_path / "big.pt", 4 << 30, 100)
    else:
        path = tmp_path / "shards"
        (path / "mp_rank_00").mkdir(parents=True)
        sparse(path / "mp_rank_00" / "model.pt", 4 << 30, 100)
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "matrix", "remap", str(path), str(out / "new"), "--to", "1.11"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while written(process.pid, out) < 50 << 20 and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "new").exists()
    left = list(out.iterdir())
    assert len(left) == (kind == "folder"), "a file has no name before it is complete"
    with publish.new_folder(out / "next"):
        assert not any(folder.exists() for folder in left), "the next run clears it away"
    assert [folder.name for folder in out.iterdir()] == ["next"]


def written(pid: int, out: Path) -> int:
    """Return how many bytes a process has written to files in a folder, named or not."""
    total = 0
    for place in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if str(out) in str(place.readlink()):
                total += place.stat().st_size
        except OSError:
            continue
    return total


def test_dropped_state_loads_strictly_in_the_target(bench, tmp_path) -> None:
    """1.11's own model takes a 2.17.1 checkpoint strictly once the FP8 state is given up."""
    from matrix.catalogue.scenarios import load
    from matrix.lane.local import LocalRunner

    path = tmp_path / "x.pt"
    path.write_bytes(recorded_bytes("2.17.1"))
    done = remap(path, tmp_path / "out.pt", "1.11", drop_fp8_state=True)
    release, scenario = bench.known["1.11"], load()["autocast"]
    with LocalRunner(tmp_path / "logs") as runner:
        process = runner.open(release, FetchedSources().get(release), "cpu")
        process.enter(scenario, 60)
        answer = process.load(scenario, done.out, 60, None, None)
        process.close()
    assert isinstance(answer, LoadAnswer)
    assert answer.error is None
    attention = next(part for part in answer.parts if part.attention)
    assert all(tensor.default for tensor in attention.tensors.values())
