"""Rule: ``remap`` changes the extra states it says, by the steps it says, and nothing else."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from helpers.formats import (
    FORMATS,
    State,
    layered,
    loaded,
    recorded_bytes,
    recorded_state,
    torch_zip,
)
from matrix.catalogue import forms, tables
from matrix.catalogue.ranges import covers
from matrix.catalogue.releases import Catalogue
from matrix.checkpoint import edits, encoding, layout, publish
from matrix.cli import main
from matrix.doctor import CheckpointError, LossError, NoRewriteError, inspect, remap
from matrix.doctor import remapping as remapping_module
from matrix.errors import ExitCode
from matrix.system import cleanup

pytestmark = pytest.mark.usefixtures("not_tried")


def te_matrix(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def payload(value: Any) -> Any:
    """What a release's loader would find in an extra state."""
    if isinstance(value, io.BytesIO):
        value.seek(0)
        return torch.load(value, weights_only=False)
    return pickle.loads(value.numpy().tobytes()) if value.numel() else None


def is_state(key: str) -> bool:
    return "_extra_state" in key


def check(before: State, after: State, *, registration: bool = False) -> None:
    """Weights are the same; every state holds the scales and amaxes that it held."""
    for key, value in before.items():
        new = key.replace(".fused_attention", "")
        if is_state(key):
            old, made = payload(value), payload(after[new])
            for name in ("scale_fwd", "amax_history_fwd", "scale_bwd", "amax_history_bwd"):
                assert torch.equal(old[name], made[name]), (key, name)
            assert ("buffer_index_and_autocast_key" in made["extra_fp8_variables"]) is registration
        else:
            assert torch.equal(value, after[key]), key
    assert len(after) == len(before)


@pytest.mark.parametrize("layers", [2, 32])
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "safetensors"])
def test_17_for_111_in_every_format(name: str, layers: int, tmp_path: Path, out: Path) -> None:
    path = FORMATS[name](layered(recorded_state("1.7"), layers), tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    done = remap(path, out / path.name, "1.11")
    assert done.written and done.form == "1.8"
    check(loaded(path), loaded(done.out))
    assert {step for change in done.changes for step in change.steps} == {
        "map-key",
        "drop-registration",
    }
    report = inspect(done.out, ["1.11"])
    assert report.targets[0].status == "loads"
    assert not any(module.marked for module in report.modules)
    assert before == {f: f.stat().st_mtime_ns for f in before}, "the checkpoint itself is untouched"
    assert [p.name for p in out.iterdir()] == [path.name], "nothing is left beside it"


def test_safetensors_for_111(tmp_path: Path, out: Path) -> None:
    path = FORMATS["safetensors"](layered(recorded_state("2.17.1"), 2), tmp_path)
    done = remap(path, out / path.name, "1.11")
    after = loaded(done.out)
    for key, value in loaded(path).items():
        if not is_state(key):
            assert torch.equal(value, after[key])
    made = payload(next(v for k, v in after.items() if "core_attention" in k))
    assert torch.equal(made["scale_inv_fwd"], 1 / made["scale_fwd"])
    assert "recipe" not in made


def test_bytes_of_every_untouched_storage_are_the_same(tmp_path: Path, out: Path) -> None:
    """Weights of every kind, shared and viewed, and optimizer state beside."""
    base = torch.arange(100, dtype=torch.float32)
    weights = {
        "a": base[10:20],
        "tied": base,
        "half": torch.randn(7).half(),
        "bf16": torch.randn(3, 5).bfloat16().t(),
        "fp8": torch.randn(8).to(torch.float8_e4m3fn),
        "bool": torch.tensor([True, False]),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "empty": torch.empty(0, 3),
    }
    whole = {"model": {**weights, **recorded_state("1.7")}, "step": 3, "names": ("a", "b")}
    for legacy in (False, True):
        if legacy:  # which cannot hold such a tensor
            del whole["model"]["fp8"], weights["fp8"]
        path = tmp_path / f"{legacy}.pt"
        torch.save(whole, path, _use_new_zipfile_serialization=not legacy)
        done = remap(path, out / path.name, "1.11")
        after = torch.load(done.out, weights_only=False)
        for key, value in weights.items():
            new = after["model"][key]
            assert torch.equal(
                value.view(torch.uint8) if key == "fp8" else value,
                new.view(torch.uint8) if key == "fp8" else new,
            )
            assert (value.dtype, value.stride(), type(value)) == (
                new.dtype,
                new.stride(),
                type(new),
            )
        model = after["model"]
        assert model["a"].untyped_storage().data_ptr() == model["tied"].untyped_storage().data_ptr()
        assert (after["step"], after["names"]) == (3, ("a", "b"))


def test_a_rewritten_file_can_be_mapped(tmp_path: Path, out: Path) -> None:
    path = torch_zip(layered(recorded_state("1.7"), 2), tmp_path)
    done = remap(path, out / "x.pt", "1.11")
    mapped = torch.load(done.out, mmap=True, weights_only=False)
    check(loaded(path), dict(mapped))
    from matrix.checkpoint.zips import Zip

    with done.out.open("rb") as stream:
        for name, entry in Zip(stream).entries.items():
            assert entry.start % 64 == 0 or "/data/" not in name, name


STEPS = {
    ("1.7", "1.6"): ("1.6", {"drop-registration"}),
    ("1.7", "1.12"): ("1.8", {"map-key", "drop-registration"}),
    ("1.7", "1.13"): ("1.13", {"map-key", "drop-registration"}),
    ("1.7", "2.1"): ("2.0", {"map-key", "drop-registration", "add-recipe"}),
    ("1.7", "2.17.1"): ("2.4", {"map-key", "drop-registration", "add-recipe"}),
    ("1.11", "1.7"): ("1.6", {"unmap-key"}),
    ("1.14", "2.0"): ("2.0", {"add-recipe"}),
    ("2.2.1", "1.10"): ("1.8", {"add-scale-inv"}),
    ("2.17.1", "1.6"): ("1.6", {"unmap-key", "add-scale-inv"}),
}


@pytest.mark.parametrize("pair", STEPS)
def test_the_steps_are_those_that_the_pair_needs(pair: tuple[str, str], tmp_path: Path) -> None:
    saver, target = pair
    path = torch_zip(recorded_state(saver), tmp_path)
    plan = remap(path, tmp_path / "out.pt", target, dry_run=True)
    assert (plan.form, {s for c in plan.changes for s in c.steps}) == STEPS[pair]
    assert not plan.written and not (tmp_path / "out.pt").exists()


def test_modules_without_state_are_spelled_out_or_emptied(tmp_path: Path) -> None:
    new = torch_zip(recorded_state("2.17.1", "attention-only"), tmp_path)
    plan = remap(new, tmp_path / "out.pt", "2.2", dry_run=True)
    assert [c.steps for c in plan.changes] == [("spell-out-nothing",)] * 2
    old = torch_zip(recorded_state("1.7", "attention-only"), tmp_path)
    plan = remap(old, tmp_path / "out.pt", "2.17.1", dry_run=True)
    assert {step for c in plan.changes for step in c.steps} >= {"empty-nothing", "map-key"}
    assert plan.opt_in == "NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE"


def test_only_the_touched_states_of_a_file_change(tmp_path: Path, out: Path) -> None:
    path = torch_zip(layered(recorded_state("2.17.1", "attention-only"), 2), tmp_path)
    done = remap(path, out / "x.pt", "2.2")
    before, after = loaded(path), loaded(done.out)
    for key in before:
        if "core_attention" in key:
            assert torch.equal(before[key], after[key])
    assert payload(after[next(k for k in after if "qkv._extra" in k)]) is None


def test_nothing_is_written_where_nothing_is_needed(tmp_path: Path) -> None:
    path = torch_zip(recorded_state("1.11"), tmp_path)
    shown = te_matrix("remap", path, tmp_path / "out.pt", "--to", "1.13")
    assert shown.exit_code == ExitCode.OK
    assert "nothing to rewrite" in shown.output
    assert not (tmp_path / "out.pt").exists()
    shown = te_matrix("remap", path, tmp_path / "out.pt", "--to", "2.17.1")
    assert "set NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE=1" in shown.output


@pytest.mark.parametrize(
    ("release", "scenario", "target", "complaint"),
    [
        ("1.7", "autocast", "1.5", "for which 1.0-1.5 have no place"),
        ("1.11", "autocast", "1.5", "for which 1.0-1.5 have no place"),
    ],
)
def test_what_no_rewrite_is_known_for(
    release: str, scenario: str, target: str, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(recorded_bytes(release, scenario))
    shown = te_matrix("remap", path, tmp_path / "out.pt", "--to", target)
    assert shown.exit_code == ExitCode.DEVIATES
    assert complaint in shown.output
    assert not (tmp_path / "out.pt").exists()


def test_a_checkpoint_that_nothing_is_known_of(tmp_path: Path) -> None:
    path = torch_zip({"w": torch.ones(1)}, tmp_path)
    with pytest.raises(NoRewriteError, match="holds no extra state"):
        remap(path, tmp_path / "out.pt", "1.11")


def test_old_and_new_key_together(tmp_path: Path) -> None:
    state = recorded_state("1.7")
    state["core_attention._extra_state"] = state["core_attention.fused_attention._extra_state"]
    path = torch_zip(state, tmp_path)
    with pytest.raises(CheckpointError, match="would both become core_attention._extra_state"):
        remap(path, tmp_path / "out.pt", "1.11", saved_by="1.7")


def test_the_same_key_twice_in_one_file_is_no_clash(tmp_path: Path, out: Path) -> None:
    """A model and its moving average."""
    path = tmp_path / "x.pt"
    torch.save({"model": recorded_state("1.7"), "ema": recorded_state("1.7")}, path)
    done = remap(path, out / "x.pt", "1.11")
    after = torch.load(done.out, weights_only=False)
    for name in ("model", "ema"):
        check(recorded_state("1.7"), after[name])


def count_walks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that gets the path of every folder that is walked from now on."""
    walked: list[Path] = []
    walk = os.walk

    def counting(top: Path, *arguments: Any, **options: Any) -> Any:
        walked.append(Path(top))
        return walk(top, *arguments, **options)

    monkeypatch.setattr(os, "walk", counting)
    return walked


@pytest.mark.parametrize("name", ["mp_rank", "torch_dist", "sharded"])
def test_a_folder_is_walked_once(
    name: str, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its layout is handed on; what is written is walked once more, to be checked."""
    path = FORMATS[name](layered(recorded_state("1.7"), 2), tmp_path)
    walked = count_walks(monkeypatch)
    inspect(path, ["1.11"])
    assert walked == [path]
    walked.clear()
    done = remap(path, out / path.name, "1.11")
    assert done.written
    assert len(walked) == 2 and walked[0] == path and walked[1].parent == out


def test_states_beside_the_index_of_a_distributed_checkpoint(tmp_path: Path, out: Path) -> None:
    """A file in its folder that holds states of its own is rewritten in its own format."""
    path = FORMATS["torch_dist"](layered(recorded_state("1.7"), 2), tmp_path)
    torch.save({"ema": recorded_state("1.7")}, path / "common.pt")
    done = remap(path, out / path.name, "1.11")
    check(loaded(path), loaded(done.out))
    check(recorded_state("1.7"), torch.load(done.out / "common.pt", weights_only=False)["ema"])


# Giving the state up.


@pytest.mark.parametrize("target", ["1.5", "1.7", "1.11", "2.2", "2.17.1"])
@pytest.mark.parametrize("release", ["1.7", "1.11", "2.17.1"])
def test_dropping_leaves_nothing_and_says_what_is_lost(
    release: str, target: str, tmp_path: Path, out: Path
) -> None:
    path = torch_zip(layered(recorded_state(release), 2), tmp_path)
    done = remap(path, out / "x.pt", target, drop_fp8_state=True)
    assert [c.lost for c in done.changes] == ["scales and amaxes"] * 6
    after = loaded(done.out)
    states = {key: value for key, value in after.items() if is_state(key)}
    assert all(payload(value) is None for value in states.values())
    assert len(states) == (4 if target == "1.5" else 6)
    for key, value in loaded(path).items():
        if not is_state(key):
            assert torch.equal(value, after[key])


def test_dropping_is_said_module_by_module(tmp_path: Path, out: Path) -> None:
    path = torch_zip(layered(recorded_state("1.7"), 2), tmp_path)
    shown = te_matrix("remap", path, out / "x.pt", "--to", "1.11", "--drop-fp8-state")
    assert shown.output.count("given up: scales and amaxes") == 6


@pytest.mark.parametrize("release", ["1.7", "1.11", "2.17.1"])
def test_attention_alone_is_given_up_by_name(release: str, tmp_path: Path, out: Path) -> None:
    path = torch_zip(layered(recorded_state(release), 2), tmp_path)
    with pytest.raises(LossError, match="--drop-fp8-state attention gives the state of attention"):
        remap(path, out / "x.pt", "1.5")
    done = remap(path, out / "x.pt", "1.5", drop_fp8_state="attention")
    lost = [change.module for change in done.changes if change.lost]
    assert len(lost) == 2 and all("core_attention" in module for module in lost)
    after = {key: value for key, value in loaded(done.out).items() if is_state(key)}
    assert len(after) == 4 and all(payload(value) is not None for value in after.values())


def test_names_follow_the_option_or_none_does(tmp_path: Path, out: Path) -> None:
    path = torch_zip(recorded_state("1.7"), tmp_path)
    where = ("remap", path, out / "x.pt", "--to", "1.11", "--dry-run")
    for options, lost in (
        (["--drop-fp8-state"], 3),
        (["--drop-fp8-state", "attention"], 1),
        (["--drop-fp8-state=attention", "--drop-fp8-state=qkv"], 2),
    ):
        shown = te_matrix(*where, *options)
        assert shown.output.count("given up: scales and amaxes") == lost
    refused = te_matrix(*where, "--drop-fp8-state", "nosuch")
    assert refused.exit_code == 2
    assert "no module with FP8 state is called nosuch" in refused.output


def test_dropping_what_cannot_be_decoded(tmp_path: Path, out: Path) -> None:
    state = recorded_state("1.11")
    state["qkv._extra_state"] = io.BytesIO(state["qkv._extra_state"].getvalue()[:-100])
    path = torch_zip(state, tmp_path)
    with pytest.raises(CheckpointError, match="qkv._extra_state cannot be decoded"):
        remap(path, out / "x.pt", "2.2")
    done = remap(path, out / "x.pt", "2.2", drop_fp8_state=True)
    assert "what could not be read" in {change.lost for change in done.changes}


# Where it is written.


def test_in_and_out_are_not_the_same_and_out_is_new(tmp_path: Path) -> None:
    path = torch_zip(recorded_state("1.7"), tmp_path)
    data = path.read_bytes()
    with pytest.raises(CheckpointError, match="model.pt exists"):
        remap(path, path, "1.11")
    with pytest.raises(CheckpointError, match="is no folder"):
        remap(path, tmp_path / "gone" / "x.pt", "1.11")
    (tmp_path / "dangling.pt").symlink_to("nowhere")
    with pytest.raises(CheckpointError, match="dangling.pt exists"):
        remap(path, tmp_path / "dangling.pt", "1.11")
    assert path.read_bytes() == data


def test_a_folder_is_not_written_into_itself(tmp_path: Path) -> None:
    path = FORMATS["mp_rank"](layered(recorded_state("1.7"), 2), tmp_path)
    with pytest.raises(CheckpointError, match="lies inside"):
        remap(path, path / "new", "1.11")


def test_a_linked_folder_is_not_left_out_silently(tmp_path: Path) -> None:
    path = FORMATS["mp_rank"](layered(recorded_state("1.7"), 2), tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (path / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="linked is a link to a folder"):
        remap(path, tmp_path / "new", "1.11")
    assert not (tmp_path / "new").exists()


def test_space_is_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = torch_zip(recorded_state("1.7"), tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(publish.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(CheckpointError, match="has 1 MiB free, and 16 MiB are needed"):
        remap(path, tmp_path / "out.pt", "1.11")


@pytest.mark.parametrize("tmpfile", [True, False])
@pytest.mark.parametrize("name", ["zip", "mp_rank", "torch_dist"])
def test_a_failure_half_way_leaves_nothing(
    name: str, tmpfile: bool, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = FORMATS[name](layered(recorded_state("1.7"), 2), tmp_path)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    if not tmpfile:
        monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.setattr(remapping_module, "verify", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        remap(path, out / path.name, "1.11")
    assert list(out.iterdir()) == []


def test_without_unnamed_files_it_works_as_well(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    path = torch_zip(recorded_state("1.7"), tmp_path)
    remap(path, out / "x.pt", "1.11")
    assert [p.name for p in out.iterdir()] == ["x.pt"]
    check(loaded(path), loaded(out / "x.pt"))


def test_what_came_into_being_meanwhile_is_not_overwritten(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = torch_zip(recorded_state("1.7"), tmp_path)

    def meanwhile(*_arguments: object) -> tuple[bool, str]:
        (out / "x.pt").write_text("somebody else's")
        return True, ""

    monkeypatch.setattr(remapping_module, "verify", meanwhile)
    with pytest.raises(CheckpointError, match="came into being meanwhile"):
        remap(path, out / "x.pt", "1.11")
    assert (out / "x.pt").read_text() == "somebody else's"


def test_a_killed_process_s_folder_is_cleared_away(tmp_path: Path, out: Path) -> None:
    path = FORMATS["torch_dist"](layered(recorded_state("1.7"), 2), tmp_path)
    left = out / cleanup.mark(".te-matrix-").replace(f"-{os.getpid()}-", "-999999999-")
    left.mkdir()
    (left / "half").write_text("")
    remap(path, out / "new", "1.11")
    assert [p.name for p in out.iterdir()] == ["new"]


# Folders: what does not change.


def test_untouched_files_are_linked_when_asked(tmp_path: Path, out: Path) -> None:
    path = FORMATS["torch_dist"](layered(recorded_state("1.7"), 2), tmp_path)
    linked = remap(path, out / "linked", "1.11", unchanged="link").out
    copied = remap(path, out / "copied", "1.11").out
    for name in ("__0_0.distcp", "common.pt"):
        assert (linked / name).samefile(path / name)
        assert not (copied / name).samefile(path / name)
        assert (copied / name).read_bytes() == (path / name).read_bytes()
    assert not (linked / ".metadata").samefile(path / ".metadata")
    assert (linked / "__te_matrix_0.distcp").is_file()
    with pytest.raises(CheckpointError, match="rewritten before"):
        remap(linked, out / "again", "1.7", saved_by="1.11")


def test_reflinks_say_where_they_cannot_be(tmp_path: Path, out: Path) -> None:
    path = FORMATS["torch_dist"](layered(recorded_state("1.7"), 2), tmp_path)
    try:
        done = remap(path, out / "x", "1.11", unchanged="reflink")
    except CheckpointError as error:
        assert "Use --unchanged copy" in str(error)
        assert list(out.iterdir()) == []
    else:
        assert (done.out / "common.pt").read_bytes() == (path / "common.pt").read_bytes()


# The tables.


def test_every_release_of_the_catalogue_has_one_form(known: Catalogue) -> None:
    for release in known.releases:
        forms_ = [f for f in forms.load().values() if covers(f.read_by)(release.version)]
        assert len(forms_) == 1, release.version
    assert forms.read_by("99.0") is None


def test_every_step_is_documented() -> None:
    documented = set(edits.__doc__.split("``")[1::2])  # type: ignore[union-attr]
    source = Path(edits.__file__).read_text()
    for step in {s for _form, steps in STEPS.values() for s in steps} | {"drop-state"}:
        assert step in documented and step in source


def test_json(tmp_path: Path) -> None:
    path = torch_zip(recorded_state("1.7"), tmp_path)
    shown = te_matrix("remap", path, tmp_path / "x.pt", "--to", "1.11", "--dry-run", "--json")
    found = json.loads(shown.stdout)
    assert (found["form"], found["written"], len(found["changes"])) == ("1.8", False, 3)


def test_a_shape_of_its_own_keeps_its_history_length(tmp_path: Path) -> None:
    """The recipe that 2.x is given says how long the state's own history is."""
    state = recorded_state("1.7")
    key = "core_attention.fused_attention._extra_state"
    inside = payload(state[key])
    for way in ("fwd", "bwd"):
        inside[f"amax_history_{way}"] = inside[f"amax_history_{way}"][:16].clone()
    new = io.BytesIO()
    torch.save(inside, new)
    path = torch_zip({**state, key: new}, tmp_path)
    (found,) = [s for s in layout.find(path).read().states if s.attention]
    encoded = encoding.encode(found, forms.load()["2.0"])
    assert b"amax_history_len" in encoded
    from matrix.checkpoint import objects, pickles

    fields = objects.fields(pickles.read(encoded).root) or {}
    assert objects.attributes(fields["recipe"])["amax_history_len"] == 16


def test_tables_are_strict(table: Any) -> None:
    bad = table('[[form]]\nname = "x"\n')
    with pytest.raises(Exception, match="form.0.read_by"):
        tables.load(bad, forms._Forms)


@pytest.mark.parametrize("name", FORMATS)
def test_norms_are_left_out_in_every_format(name: str, tmp_path: Path, out: Path) -> None:
    state = with_norm(recorded_state("2.17.1"))
    state["norm._extra_state"] = torch.empty(0, dtype=torch.uint8)
    path = FORMATS[name](layered(state, 2), tmp_path)
    if name == "sharded":  # whose weights lie under other keys than the states
        with pytest.raises(CheckpointError, match="it cannot be told whether .* of a norm"):
            remap(path, out / path.name, "1.11")
        return
    done = remap(path, out / path.name, "1.11")
    dropped = [change for change in done.changes if change.new_key is None]
    copies = 2 if name == "mp_rank" else 1
    assert [change.steps for change in dropped] == [("drop-key",)] * 2 * copies
    assert all("norm" in change.key and not change.lost for change in dropped)
    after = loaded(done.out)
    assert not [key for key in after if "norm" in key and is_state(key)]
    assert len(after) == len(loaded(path)) - 2


# What is not known beforehand.


def with_norm(state: State) -> State:
    return {**state, "norm.weight": torch.ones(4), "norm.bias": torch.ones(4)}


def test_norms_are_added_on_request(tmp_path: Path, out: Path) -> None:
    path = torch_zip(with_norm(recorded_state("1.11")), tmp_path)
    words = ("remap", path, out / "x.pt", "--to", "1.13")
    shown = te_matrix(*words)
    assert shown.exit_code == ExitCode.DEVIATES
    assert "If norm are norms of Transformer Engine, name them with --add-norm-states" in " ".join(
        shown.output.split()
    )
    shown = te_matrix(*words, "--add-norm-states", "n*")
    assert shown.exit_code == ExitCode.OK, shown.output
    assert "norm._extra_state: add-key" in shown.output
    after = loaded(out / "x.pt")
    assert after["norm._extra_state"].numel() == 0
    assert set(after) == {*loaded(path), "norm._extra_state"}
    shown = te_matrix(*words[:2], out / "y.pt", "--to", "1.13", "--add-norm-states", "other")
    assert shown.exit_code == ExitCode.USAGE and "Such are: norm" in shown.output
    shown = te_matrix(*words[:2], out / "y.pt", "--to", "1.11", "--add-norm-states", "norm")
    assert shown.exit_code == ExitCode.USAGE and "norms have no extra state in 1.11" in shown.output


def unknown_to_the_matrix() -> State:
    """A cast state; no scenario has one."""
    state = recorded_state("2.17.1")
    key = "qkv._extra_state"
    return {**state, key: state[key].to(torch.bfloat16)}


def test_what_the_matrix_has_not_seen_is_written_if_the_release_takes_it(
    tmp_path: Path, out: Path
) -> None:
    path = torch_zip(unknown_to_the_matrix(), tmp_path)
    done = remap(path, out / "x.pt", "2.3")
    assert done.before.status != "loads" and done.written
    (changed,) = [change for change in done.changes if "undo-cast" in change.steps]
    assert changed.module == "qkv"
    assert loaded(done.out)["qkv._extra_state"].dtype == torch.uint8


def test_what_nobody_has_seen_load_is_not_written(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remapping_module, "verify", lambda *_arguments: (False, "not tried: why"))
    path = torch_zip(unknown_to_the_matrix(), tmp_path)
    with pytest.raises(NoRewriteError, match="its own code could not be asked: not tried: why"):
        remap(path, out / "x.pt", "2.3")
    assert list(out.iterdir()) == []
    seen = torch_zip(recorded_state("1.7"), tmp_path)
    assert remap(seen, out / "x.pt", "1.11").verified == "not tried: why", "the matrix has seen it"


@pytest.mark.parametrize(
    ("release", "scenario"), [("1.7", "autocast"), ("1.11", "fp8-weights"), ("1.11", "autocast")]
)
@pytest.mark.parametrize("target", ["1.5", "1.11", "2.3", "2.17.1"])
def test_no_refusal_advises_the_command_that_refuses(
    release: str, scenario: str, target: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(recorded_bytes(release, scenario))
    shown = te_matrix("remap", path, tmp_path / "out.pt", "--to", target, "--dry-run")
    assert shown.exit_code in (ExitCode.OK, ExitCode.DEVIATES)
    assert (shown.exit_code == ExitCode.OK) or "te-matrix remap" not in shown.output


def test_a_checkpoint_without_states_has_nothing_to_rewrite(tmp_path: Path, out: Path) -> None:
    path = torch_zip({"layer.lora_A.weight": torch.zeros(2, 2)}, tmp_path)
    with pytest.raises(NoRewriteError, match="holds no extra state.*There is nothing to rewrite"):
        remap(path, out / "new.pt", "2.3")
    assert not any(out.iterdir())
