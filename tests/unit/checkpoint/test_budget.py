"""Rule: what a file claims costs no more than a file may, and no input ends in a traceback.

`nox -s bench` measures seconds and memory of the same at full size.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from helpers import bombs, hostile
from helpers.formats import recorded_state, torch_dist
from matrix.checkpoint import json_objects, pickles, torchfile
from matrix.checkpoint.errors import Malformed, OverBudget, Refused
from matrix.checkpoint.formats import distributed_items, safetensors
from matrix.checkpoint.formats.distributed_index import StoredItem
from matrix.checkpoint.limits import Budget
from matrix.cli import main
from matrix.doctor import CheckpointError, inspect, remap
from matrix.errors import ExitCode

SMALL = 200_000


@pytest.mark.parametrize("name", bombs.PICKLES)
def test_a_pickle_may_cost_so_much(name: str) -> None:
    """Each of these is a pickle that takes many times its own size, or no end of time."""
    data = bombs.PICKLES[name](SMALL // 20)
    with pytest.raises(OverBudget):
        pickles.read(data, Budget(left=SMALL))


@pytest.mark.parametrize("name", bombs.PICKLES)
def test_so_may_one_in_a_file_in_a_state(name: str) -> None:
    stream = io.BytesIO()
    inner = io.BytesIO(hostile.torch_zip(bombs.PICKLES[name](SMALL // 20)))
    torch.save({"x._extra_state": inner}, stream)
    with pytest.raises(OverBudget):
        torchfile.of_bytes(stream.getvalue(), Budget(left=SMALL))


def test_files_in_files_end() -> None:
    data = b"\x80\x02}."
    for _level in range(30):
        inside = hostile.binary(hostile.torch_zip(data))
        data = hostile.reduce(hostile.name("torch.storage", "_load_from_bytes"), inside) + b"."
    with pytest.raises(Refused, match="deep"):
        torchfile.of_bytes(hostile.torch_zip(data))


def test_all_states_of_a_file_share_what_it_may_cost(tmp_path: Path) -> None:
    payload = b"\x80\x02" + b"N0" * 10_000 + b"N."
    stream = io.BytesIO()
    torch.save({f"{n}._extra_state": io.BytesIO(payload) for n in range(20)}, stream)
    torchfile.of_bytes(stream.getvalue(), Budget(left=20_000_000))
    with pytest.raises(OverBudget):
        torchfile.of_bytes(stream.getvalue(), Budget(left=2_000_000))


def test_items_that_are_one_costly_place_many_times_over_share_it_too(tmp_path: Path) -> None:
    costly = hostile.torch_zip(b"\x80\x02" + b"N0" * 10_000 + b"N.")
    (tmp_path / "x.distcp").write_bytes(costly)
    items = [StoredItem(f"k{n}", "x.distcp", 0, len(costly), None) for n in range(20)]
    with pytest.raises(OverBudget):
        distributed_items.look_into(tmp_path, items, (), Budget(left=2_000_000))


def test_every_file_of_a_folder_has_its_own_share() -> None:
    budget = Budget(left=100, folder=1 << 40)
    budget.spend(90)
    budget.next_file()
    budget.spend(1000)


def test_an_entry_of_a_header_costs_what_it_takes() -> None:
    header = json.dumps({f"k{n}": {"a": [[], {}, []]} for n in range(2000)}).encode()
    assert json_objects.read(header, Budget())
    with pytest.raises(OverBudget):
        json_objects.read(header, Budget(left=SMALL))
    stream = io.BytesIO(struct.pack("<Q", len(header)) + header)
    with pytest.raises(OverBudget):
        safetensors.read_header(stream, Budget(left=SMALL))


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (b'{"a": 1, "a": 2}', Refused),
        (b'{"a": {"b": 1, "b": 2}}', Refused),
        (b'{"' + b"k" * 5000 + b'": 1}', Refused),
        (b"[" * 100_000, Malformed),
        (b'{"a": ' + b"9" * 5000 + b"}", Malformed),
        (b"[]", Malformed),
        (b"\xff", Malformed),
    ],
)
def test_headers_have_one_reading(header: bytes, error: type[Malformed]) -> None:
    with pytest.raises(error):
        json_objects.read(header, Budget())


ODD: dict[str, object] = {
    "a state of huge shape": {"s": torch.ones(1).expand(1 << 20, 1 << 20)},
    "a key of 5000 characters": {"k" * 5000: torch.ones(1)},
    "a number of 4000 bytes as a key": {1 << 31_990: torch.ones(1)},
    "a number of 900 bytes as a key": {1 << 7000: {"x": torch.ones(1)}},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_values_end_in_a_report_or_a_sentence(name: str, tmp_path: Path) -> None:
    torch.save(ODD[name], tmp_path / "x.pt")
    shown = CliRunner().invoke(main, ["inspect", str(tmp_path / "x.pt")])
    assert shown.exit_code in (ExitCode.OK, ExitCode.USAGE)
    assert shown.exception is None or isinstance(shown.exception, SystemExit)


def state_with(**changes: object) -> dict[str, object]:
    """A state dict of 1.11 whose attention's state has other fields; None takes one away."""
    state = recorded_state("1.11")
    key = next(key for key in state if "core_attention" in key)
    fields = torch.load(io.BytesIO(state[key].getvalue()), weights_only=False)
    fields |= changes
    new = io.BytesIO()
    torch.save({k: v for k, v in fields.items() if v is not None}, new)
    return {**state, key: new}


def laugh() -> list[object]:
    shared: list[object] = ["ha"]
    for _level in range(60):
        shared = [shared, shared]
    return shared


def deep() -> list[object]:
    nested: list[object] = []
    for _level in range(400):
        nested = [nested]
    return nested


STATES: dict[str, dict[str, object]] = {
    "no scale_bwd": {"scale_bwd": None},
    "no amax_history_bwd": {"amax_history_bwd": None},
    "a history of no dimension": {"amax_history_fwd": torch.tensor(0.0)},
    "a history of three dimensions": {"amax_history_fwd": torch.zeros(2, 2, 2)},
    "deep variables": {"extra_fp8_variables": {"x": deep()}},
    "a variable that is a long number": {"extra_fp8_variables": {"x": 1 << 7000}},
}


@pytest.mark.parametrize("name", STATES)
def test_states_that_cannot_be_rewritten_are_told(name: str, tmp_path: Path) -> None:
    torch.save(state_with(**STATES[name]), tmp_path / "x.pt")
    inspect(tmp_path / "x.pt", ["2.3"])
    with pytest.raises(CheckpointError, match="extra state") as caught:
        remap(tmp_path / "x.pt", tmp_path / "new.pt", "2.3", saved_by="1.11")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"extra_fp8_variables": {"x": laugh()}},
        {"scale_fwd": torch.full((9,), 1e-45)},
        {"scale_fwd": torch.full((9,), 1e-300, dtype=torch.float64), "scale_inv_fwd": None},
    ],
    ids=["shared a thousand times over", "the smallest scale", "a scale whose inverse overflows"],
)
def test_states_that_can_are_planned(changes: dict[str, object], tmp_path: Path) -> None:
    torch.save(state_with(**changes), tmp_path / "x.pt")
    for release in ("2.3", "1.8"):
        remap(tmp_path / "x.pt", tmp_path / "n.pt", release, saved_by="1.11", dry_run=True)


def test_an_index_that_names_places_far_away_is_refused(tmp_path: Path) -> None:
    import torch.distributed.checkpoint as dcp

    folder = torch_dist({"w": torch.ones(3)}, tmp_path)
    metadata = dcp.FileSystemReader(folder).read_metadata()
    for info in metadata.storage_data.values():
        info.offset = 1 << 7000
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(CheckpointError, match="cut short"):
        inspect(folder)


def test_an_index_of_shards_that_is_a_hole_is_not_read(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    with (tmp_path / "pytorch_model.bin.index.json").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="not an index"):
        inspect(tmp_path)
