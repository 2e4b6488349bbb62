"""Rule: ``inspect`` names who wrote a checkpoint and says of every release what the matrix saw."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from helpers.agreement import check_against_the_matrix
from helpers.formats import FORMATS, layered, recorded_state, torch_dist, torch_zip
from matrix.catalogue import scenarios
from matrix.checkpoint import emit, nodes, pickles
from matrix.cli import main
from matrix.doctor import CheckpointError, inspect
from matrix.errors import ExitCode, UsageError

BAND = {
    "1.5": "<=1.5",
    "1.7": "1.6-1.7",
    "1.11": "1.8-1.11",
    "1.14": ">=1.12",
    "2.0": ">=1.12",
    "2.2.1": ">=1.12",
    "2.17.1": ">=1.12",
}
ALL = list(scenarios.load())


def te_matrix(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], env={"COLUMNS": "200"})


@pytest.mark.parametrize("layers", [2, 32])
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "safetensors"])
@pytest.mark.parametrize("release", BAND)
def test_every_format_and_every_band(release: str, name: str, layers: int, tmp_path: Path) -> None:
    state = layered(recorded_state(release), layers)
    report = inspect(FORMATS[name](state, tmp_path))
    assert release in report.savers
    assert BAND[release] in report.bands
    parts = 2 if release == "1.5" else 3
    copies = 2 if name == "mp_rank" else 1
    assert len(report.modules) == layers * parts * copies
    assert {module.holds for module in report.modules} == {"metadata"}
    assert report.warnings == ()
    check_against_the_matrix(report, release, "autocast")


@pytest.mark.parametrize("release", ["1.7", "1.11", "2.17.1"])
def test_a_scenario_with_modules_without_state(release: str, tmp_path: Path) -> None:
    report = inspect(torch_zip(recorded_state(release, "attention-only"), tmp_path))
    assert [module.holds for module in report.modules].count("nothing") == 2
    check_against_the_matrix(report, release, "attention-only")


def test_only_some_layers_hold_state(tmp_path: Path) -> None:
    whole = layered(recorded_state("2.2.1"), 2)
    bare = layered(recorded_state("2.2.1", "attention-only"), 4)
    state = {**bare, **{k: v for k, v in whole.items() if "layers.1." in k}}
    report = inspect(torch_zip(state, tmp_path))
    assert [m.holds for m in report.modules].count("nothing") == 6
    assert report.savers == ("2.2", "2.2.1", "2.3")


def test_safetensors_says_what_it_cannot_hold(tmp_path: Path) -> None:
    old = inspect(FORMATS["safetensors"](layered(recorded_state("1.7"), 2), tmp_path))
    assert old.modules == () and old.savers == ()
    assert any("BytesIO" in note and "cannot" in note for note in old.notes)
    assert {target.status for target in old.targets} == {"unknown"}
    new = inspect(FORMATS["safetensors"](layered(recorded_state("2.17.1"), 2), tmp_path))
    assert len(new.modules) == 6 and "2.17.1" in new.savers
    check_against_the_matrix(new, "2.17.1", "autocast")


def test_megatrons_numbered_keys_inside_a_distributed_checkpoint(tmp_path: Path) -> None:
    state = {
        f"decoder.layers.self_attention.{key}/shard_{layer}_2"
        if key.endswith("_extra_state")
        else f"decoder.layers.{layer}.{key}": value
        for layer in range(2)
        for key, value in recorded_state("1.7").items()
    }
    report = inspect(torch_dist(state, tmp_path))
    assert report.savers == ("1.6", "1.7")
    assert sum(module.attention for module in report.modules) == 2
    assert report.modules[0].name.endswith(("qkv", "proj", "fused_attention"))


def defaulted(state: dict[str, Any]) -> dict[str, Any]:
    """Put all metadata back to scales 1 and amaxes 0."""
    made = dict(state)
    for key in (key for key in state if key.endswith("_extra_state")):
        inside = torch.load(io.BytesIO(state[key].getvalue()), weights_only=False)
        for name, tensor in inside.items():
            if isinstance(tensor, torch.Tensor):
                tensor.fill_(0.0 if name.startswith("amax") else 1.0)
        made[key] = io.BytesIO()
        torch.save(inside, made[key])
    return made


def test_defaults_are_nothing_to_lose(tmp_path: Path) -> None:
    path = torch_zip(defaulted(recorded_state("1.8")), tmp_path)
    report = inspect(path)
    assert report.nothing_to_lose
    assert report.target("1.11").status == "loads"
    shown = te_matrix("inspect", path, "--target", "1.11")
    assert shown.exit_code == ExitCode.OK
    assert "there is nothing to lose" in shown.output


def test_defaults_with_a_mark_are_dead_all_the_same(tmp_path: Path) -> None:
    report = inspect(torch_zip(defaulted(recorded_state("1.7")), tmp_path), ["1.11"])
    assert report.nothing_to_lose and report.target("1.11").status == "frozen"
    assert "core_attention" not in report.target("1.11").detail  # it is reset, to what it was


@pytest.mark.parametrize(
    ("release", "target", "status", "step"),
    [
        ("1.7", "1.11", "resets", "remap IN OUT --to 1.11"),
        ("1.7", "1.12", "frozen", "remap IN OUT --to 1.12"),
        ("1.11", "2.2", "fails", "remap IN OUT --to 2.2"),
        ("1.11", "2.17.1", "fails", "NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE=1"),
        ("2.17.1", "1.11", "fails", "remap IN OUT --to 1.11"),
        ("2.17.1", "2.15", "loads", ""),
    ],
)
def test_one_target(release: str, target: str, status: str, step: str, tmp_path: Path) -> None:
    path = torch_zip(recorded_state(release), tmp_path)
    shown = te_matrix("inspect", path, "--target", target, "--json")
    (found,) = json.loads(shown.output)["targets"]
    assert (found["release"], found["status"]) == (target, status)
    assert step in found["step"] and bool(step) == bool(found["step"])
    assert shown.exit_code == (ExitCode.OK if status == "loads" else ExitCode.DEVIATES)


def test_a_state_that_was_saved_again_without_a_step_lacks_the_mark(tmp_path: Path) -> None:
    state = recorded_state("1.7")
    for key in (key for key in state if key.endswith("_extra_state")):
        inside = torch.load(io.BytesIO(state[key].getvalue()), weights_only=False)
        del inside["extra_fp8_variables"]["buffer_index_and_autocast_key"]
        state[key] = io.BytesIO()
        torch.save(inside, state[key])
    assert inspect(torch_zip(state, tmp_path), ["1.11"]).savers == ("1.6", "1.7")


def test_a_checkpoint_without_any_state_is_not_known(tmp_path: Path) -> None:
    path = torch_zip({"w": torch.ones(2)}, tmp_path)
    shown = te_matrix("inspect", path, "--target", "2.17.1")
    assert shown.exit_code == ExitCode.INCOMPLETE
    assert "no FP8 state of TE" in shown.output


def without_state(release: str) -> dict[str, Any]:
    state = recorded_state(release, "attention-only")
    nothing = state["qkv._extra_state"]
    return {k: nothing if k.endswith("_extra_state") else v for k, v in state.items()}


@pytest.mark.parametrize(
    ("release", "target", "status"),
    [
        ("2.17.1", "1.11", "fails"),  # an empty tensor, unpickled without looking
        ("2.17.1", "2.4", "loads"),
        ("1.5", "2.17.1", "fails"),  # BytesIO is refused whatever it holds
        ("1.11", "1.7", "fails"),  # the key is unexpected whatever it holds
        ("1.11", "1.13", "loads"),
        ("2.0", "1.11", "loads"),  # with state it fails; 1.14 saves modules without it alike
        ("2.17.1", "1.14", "fails"),
    ],
)
def test_modules_that_all_hold_nothing(
    release: str, target: str, status: str, tmp_path: Path
) -> None:
    report = inspect(torch_zip(without_state(release), tmp_path), [target])
    assert report.nothing_to_lose
    assert report.targets[0].status == status, report.targets[0]


def test_the_saver_can_be_said(tmp_path: Path) -> None:
    path = torch_zip(recorded_state("1.11"), tmp_path)
    assert inspect(path, ["1.11"], saved_by="1.12").savers == ("1.12",)
    with pytest.raises(UsageError, match=r"no release 9\.9"):
        inspect(path, ["1.11"], saved_by="9.9")
    with pytest.raises(UsageError, match=r"no release 9\.9"):
        inspect(path, ["9.9"])


def test_fp8_weights_are_named_and_looked_up_as_such(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    from helpers.formats import recorded_bytes

    path.write_bytes(recorded_bytes("1.7", "fp8-weights"))
    report = inspect(path)
    assert report.savers == ("1.6", "1.7")
    assert report.warnings == ()
    assert any("Float8Tensor" in note for note in report.notes)
    check_against_the_matrix(report, "1.7", "fp8-weights")


# What is wrong with a path is said in one sentence.


def damaged(name: str, folder: Path) -> Path:
    state = layered(recorded_state("1.7"), 2)
    if name in ("torch_dist", "mp_rank", "sharded"):
        path = FORMATS[name](state, folder)
        lost = {
            "torch_dist": "__0_0.distcp",
            "mp_rank": "mp_rank_00",
            "sharded": "model.module.decoder.layers.self_attention.qkv._extra_state/shard_0_2.pt",
        }[name]
        place = path / lost
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        return path
    path = folder / name
    DAMAGE.get(name, lambda _path, _state: None)(path, state)
    return folder / "torch_dist" if name == "outside" else path


def some_zip(path: Path, _state: dict[str, Any]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")


def linked_folder(path: Path, _state: dict[str, Any]) -> None:
    path.mkdir()
    (path / "x.pt").symlink_to("x.pt")


def half_of_hugging_face(path: Path, state: dict[str, Any]) -> None:
    path.mkdir()
    index = {"weight_map": {"w": "model-00002-of-00002.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    torch_zip(state, path)


def index_that_points_outside(path: Path, state: dict[str, Any]) -> None:
    index = torch_dist(state, path.parent) / ".metadata"
    root = pickles.read(index.read_bytes()).root
    for node in nodes.every(root):
        if isinstance(node, nodes.Map):
            away = "../../etc/passwd"
            node.pairs[:] = [(k, away if k == "relative_path" else v) for k, v in node.pairs]
    index.write_bytes(emit.emit(root, 4))


DAMAGE: dict[str, Callable[[Path, dict[str, Any]], Any]] = {
    "empty": lambda path, _state: path.write_bytes(b""),
    "text": lambda path, _state: path.write_text("hello, this is no checkpoint\n"),
    "torn": lambda path, state: path.write_bytes(torch_zip(state, path.parent).read_bytes()[:-100]),
    "link": lambda path, _state: path.symlink_to(path),
    "folder": lambda path, _state: path.mkdir(),
    "linked-folder": linked_folder,
    "some.zip": some_zip,
    "short.safetensors": lambda path, _state: path.write_bytes(b"\x10" + bytes(7) + b"{}"),
    "hf": half_of_hugging_face,
    "outside": index_that_points_outside,
}


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("empty", "it is empty"),
        ("text", "it is a text"),
        ("torn", "It was cut short"),
        ("link", "is no file or folder"),
        ("missing", "is no file or folder"),
        ("folder", "holds no checkpoint"),
        ("linked-folder", "x.pt is a link that leads nowhere"),
        ("some.zip", "a zip archive that torch.save did not write"),
        ("short.safetensors", "It was cut short"),
        ("hf", "model-00002-of-00002.safetensors is missing"),
        ("torch_dist", "__0_0.distcp is missing"),
        ("mp_rank", "mp_rank_00 is missing"),
        ("sharded", "shard_0_2.pt is missing"),
        ("outside", "names a file outside the checkpoint"),
    ],
)
def test_wrong_paths(name: str, complaint: str, tmp_path: Path) -> None:
    path = damaged(name, tmp_path)
    with pytest.raises(CheckpointError, match="(?s)" + complaint.replace(".", r"\.")):
        inspect(path)
    shown = te_matrix("inspect", path)
    assert shown.exit_code == ExitCode.USAGE
    assert shown.output.count("\n") == 1 and complaint in shown.output


def test_a_folder_linked_into_itself_is_walked_once(tmp_path: Path) -> None:
    path = FORMATS["mp_rank"](layered(recorded_state("1.7"), 2), tmp_path)
    (path / "again").symlink_to(path)
    assert len(inspect(path, ["1.11"]).modules) == 12


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_rights(tmp_path: Path) -> None:
    path = torch_zip({"w": torch.ones(2)}, tmp_path)
    path.chmod(0)
    with pytest.raises(CheckpointError, match="cannot be read"):
        inspect(path)


def test_the_page_folds_layers_together(tmp_path: Path) -> None:
    shown = te_matrix("inspect", torch_zip(layered(recorded_state("1.7"), 32), tmp_path))
    assert "layers.*.self_attention.core_attention.fused_attention" in shown.output
    assert "1.8 to 1.11" in shown.output and "loses silently" in shown.output
    every = te_matrix("inspect", tmp_path / "model.pt", "--modules")
    assert "layers.31.self_attention.qkv._extra_state" in every.output


def test_a_log_has_every_key_and_message_on_one_line(tmp_path: Path) -> None:
    """Where there is no terminal, they can be searched and copied."""
    prefix = "model.language_model.decoder.layers.0.self_attention."
    state = {f"{prefix}{key}": value for key, value in recorded_state("1.11").items()}
    words = ["inspect", str(torch_zip(state, tmp_path)), "--target", "2.3"]
    shown = CliRunner().invoke(main, words, env={"COLUMNS": "60"}).output.splitlines()
    assert any(f"{prefix}core_attention._extra_state" in line for line in shown)
    assert any("KeyError at load_state_dict: 'recipe'" in line and prefix in line for line in shown)
