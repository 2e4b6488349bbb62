"""Rule: what loading would run is named, wherever it stands; honest files name nothing.

tests/integration/test_hostile.py shows that each of the hostile ones is hostile.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import io
import json
import pathlib
import pickle
import signal
import struct
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from helpers import hostile
from helpers.formats import recorded_bytes, torch_dist
from matrix.catalogue import pickled_names
from matrix.checkpoint import pickles
from matrix.checkpoint.limits import Budget
from matrix.cli import main
from matrix.doctor import CheckpointError, inspect, remap
from matrix.errors import ExitCode

EVERY = [name for name, _data in hostile.every("x")]


def te_matrix(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], env={"COLUMNS": "200"})


def unknown(pickled: bytes) -> set[str]:
    budget = Budget()
    pickles.read(pickled, budget)
    return budget.lookups.unknown


@pytest.mark.parametrize("name", EVERY)
def test_what_loading_runs_is_named(name: str, tmp_path: Path) -> None:
    canary, path = tmp_path / "ran", tmp_path / "x.pt"
    path.write_bytes(dict(hostile.every(str(canary)))[name])
    shown = te_matrix("inspect", path, "--target", "1.11")
    assert shown.exit_code == ExitCode.UNSAFE, shown.output
    assert "warning" in shown.output
    with pytest.raises(CheckpointError, match="not written on"):
        remap(path, tmp_path / "new.pt", "1.11", drop_fp8_state=True)
    assert not canary.exists() and not (tmp_path / "new.pt").exists()


@pytest.mark.parametrize("name", EVERY)
def test_the_same_in_extra_states(name: str, tmp_path: Path) -> None:
    """In a BytesIO, in a byte tensor, and in a byte tensor that no key says to be a state."""
    canary, path = tmp_path / "ran", tmp_path / "x.pt"
    data = dict(hostile.every(str(canary)))[name]
    bare = hostile.PICKLES.get(name, lambda _folder: data)(str(canary))
    marked = bare if bare[:1] in (b"\x80", b"P") else b"\x80\x03" + bare
    states = [
        {"core_attention._extra_state": io.BytesIO(data)},
        {"something": (io.BytesIO(data),)},
        {"something": [(torch.frombuffer(bytearray(marked), dtype=torch.uint8),)]},
    ]
    if name in hostile.PICKLES:
        tensor = torch.frombuffer(bytearray(bare), dtype=torch.uint8)
        states.append({"core_attention._extra_state": tensor})
    for state in states:
        torch.save(state, path)
        assert te_matrix("inspect", path).exit_code == ExitCode.UNSAFE, state
    assert not canary.exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.int64, torch.uint16])
def test_a_state_of_another_type_is_read_as_transformer_engine_would(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    whole = bytearray(hostile.call(str(tmp_path / "ran")))
    while left := (7 - len(whole)) % 8:
        whole += b"K\x010" if left % 2 else b"N0"
    whole += b"."
    state = torch.frombuffer(whole, dtype=torch.uint8).view(dtype)
    torch.save({"m._extra_state": state}, tmp_path / "x.pt")
    assert inspect(tmp_path / "x.pt", ["1.11"]).warnings == ("posix.mkdir()",)


def test_a_state_that_does_not_lie_in_one_piece_is_refused(tmp_path: Path) -> None:
    """What Transformer Engine unpickles are its elements in their own order."""
    data = bytearray(b"x".join(bytes([b]) for b in hostile.call(str(tmp_path / "ran")) + b"."))
    torch.save(
        {"m._extra_state": torch.frombuffer(data, dtype=torch.uint8)[::2]}, tmp_path / "x.pt"
    )
    with pytest.raises(CheckpointError, match="do not follow each other"):
        inspect(tmp_path / "x.pt")


def test_a_buffer_whose_content_is_replaced_is_refused(tmp_path: Path) -> None:
    evil = hostile.binary(hostile.call(str(tmp_path / "ran")) + b".")
    made = hostile.reduce(hostile.name("_io", "BytesIO"), hostile.binary(b"\x80\x02}."))
    replaced = made + b"(" + evil + b"K\x00Ntb"
    pickled = b"\x80\x03}" + hostile.text("m._extra_state") + replaced + b"s."
    (tmp_path / "x.pt").write_bytes(hostile.torch_zip(pickled))
    with pytest.raises(CheckpointError):
        inspect(tmp_path / "x.pt")


def test_a_tensor_of_an_unusual_kind_is_no_state_that_is_passed_over(tmp_path: Path) -> None:
    """Protocol 0 pickles begin like anything; so what cannot be decoded is refused."""
    data = torch.frombuffer(bytearray(b"cposix\nmkdir\n(S'x'\ntR."), dtype=torch.uint8)
    twice = torch.nn.Parameter(data, requires_grad=False)
    twice.__reduce_ex__ = lambda _p: (torch._utils._rebuild_parameter, (  # type: ignore[method-assign]
        torch.nn.Parameter(data, requires_grad=False), False, collections.OrderedDict()
    ))  # fmt: skip
    torch.save({"m._extra_state": twice}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="unusual kind"):
        inspect(tmp_path / "x.pt")


@pytest.mark.parametrize("part", ["system", "main", "keys"])
def test_files_inside_any_pickle_of_a_legacy_file_are_read(part: str, tmp_path: Path) -> None:
    evil = hostile.torch_zip(hostile.call(str(tmp_path / "ran")) + b".")
    inside = hostile.reduce(hostile.name("torch.storage", "_load_from_bytes"), hostile.binary(evil))
    end = b"0]." if part == "keys" else b"0}."
    (tmp_path / "x.pt").write_bytes(hostile.torch_legacy(**{part: b"\x80\x02" + inside + end}))
    assert inspect(tmp_path / "x.pt", ["1.11"]).warnings == ("posix.mkdir()",)


@pytest.mark.parametrize("name", hostile.ONLY_NAMED)
def test_what_no_honest_pickle_names(name: str) -> None:
    assert unknown(hostile.ONLY_NAMED[name])


def test_pickles_one_after_the_other_are_all_read(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(b"\x80\x02}." + hostile.call(str(tmp_path / "ran")) + b".")
    assert te_matrix("inspect", path).exit_code == ExitCode.UNSAFE


def test_a_pickle_that_breaks_off_after_its_call_is_named_in_a_state(tmp_path: Path) -> None:
    """Python would have called by then."""
    path = tmp_path / "x.pt"
    torch.save({"core_attention._extra_state": io.BytesIO(hostile.call("x") + b"\xff")}, path)
    report = inspect(path, ["1.11"])
    assert report.warnings == ("posix.mkdir()",)
    assert report.modules[0].holds == "unreadable"


def test_a_tar_archive_that_begins_as_a_pickle_is_refused(tmp_path: Path) -> None:
    """PyTorch tries its oldest format first, and that is a tar archive of pickles."""
    import tarfile

    path = tmp_path / "x.pt"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("\udc80\x02}.")
        archive.addfile(info)
    assert path.read_bytes()[:4] == b"\x80\x02}."
    with pytest.raises(CheckpointError, match="tar archive"):
        inspect(path)


@pytest.mark.parametrize("item", ["object", "tensor", "metadata"])
def test_items_and_metadata_of_distributed_checkpoints(item: str, tmp_path: Path) -> None:
    canary = str(tmp_path / "ran")
    folder = torch_dist({"w": torch.ones(3), "o": "an object"}, tmp_path)
    evil = hostile.torch_zip(b"\x80\x02" + hostile.call(canary) + b"0}.")
    index = folder / ".metadata"
    if item == "metadata":
        index.write_bytes(b"\x80\x02" + hostile.call(canary) + b"0" + index.read_bytes()[2:])
    else:
        key = {"object": "model.o", "tensor": "model.w"}[item]
        import torch.distributed.checkpoint as dcp

        metadata = dcp.FileSystemReader(folder).read_metadata()
        (place,) = [i for i in metadata.storage_data if i.fqn == key]
        info = metadata.storage_data[place]
        data = (folder / info.relative_path).read_bytes()
        (folder / "evil.distcp").write_bytes(evil)
        info.relative_path, info.offset, info.length = "evil.distcp", 0, len(evil)
        assert data
        index.write_bytes(pickle.dumps(metadata))
    shown = te_matrix("inspect", folder)
    assert shown.exit_code == ExitCode.UNSAFE and "posix.mkdir()" in shown.output
    assert not Path(canary).exists()


def test_items_that_are_not_read_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matrix.checkpoint import limits

    monkeypatch.setattr(limits, "ITEMS", 1)
    folder = torch_dist({"w": torch.ones(3), "o": "an object"}, tmp_path)
    assert any("1 of its 2 items were not read" in note for note in inspect(folder).notes)


def test_pickles_in_a_folder_that_are_not_read_are_told(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "model.pt")
    (tmp_path / "random_states_0.pkl").write_bytes(hostile.call("x") + b".")
    notes = inspect(tmp_path, ["1.11"]).notes
    assert "not read, though loading them may run code: random_states_0.pkl" in notes


def test_a_name_of_ones_own_can_be_allowed(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    own = hostile.name("my.program", "Config") + b")\x81}b."
    state = torch.load(io.BytesIO(recorded_bytes("1.7")), weights_only=False)
    torch.save(state, path)
    data = path.read_bytes()
    assert data
    path.write_bytes(hostile.torch_zip(b"\x80\x02" + own))
    assert te_matrix("inspect", path).exit_code == ExitCode.UNSAFE
    shown = te_matrix("inspect", path, "--allow", "my.program.Config", "--json")
    assert shown.exit_code == ExitCode.OK and json.loads(shown.output)["warnings"] == []
    assert te_matrix("inspect", path, "--allow", "my.program").exit_code == ExitCode.UNSAFE


HONEST: dict[str, Any] = {
    "namespace": argparse.Namespace(a=1, b=[argparse.Namespace()]),
    "simple namespace": types.SimpleNamespace(a=1),
    "signal": signal.SIGTERM,
    "paths": [pathlib.Path("a"), pathlib.PurePosixPath("b")],
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1]),
    "default dict": collections.defaultdict(list, a=[1]),
    "default dict of dicts": collections.defaultdict(dict),
    "date": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "sets": [{1}, frozenset({2}), slice(1), range(3), 1j, b"bytes", bytearray(b"x")],
    "numpy random state": np.random.get_state(),
    "numpy generator": np.random.default_rng(1),
    "numpy array": np.ones(3),
    "numpy scalar": np.float64(3),
    "torch": [torch.float32, torch.device("cpu"), torch.Size([1]), torch.strided],
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "optimizer": torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict(),
    "float8": torch.ones(2).to(torch.float8_e4m3fn),
    "sparse": torch.ones(2, 2).to_sparse(),
    "random state": torch.get_rng_state(),
    "version": torch.torch_version.TorchVersion("2.0"),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", HONEST)
def test_honest_values_name_nothing(name: str, protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"model": {}, "more": HONEST[name]}, path, pickle_protocol=protocol)
    assert inspect(path, ["1.11"]).warnings == ()


@pytest.mark.parametrize("protocol", [0, 1])
@pytest.mark.parametrize("name", ["namespace", "sets", "numpy random state", "paths"])
def test_honest_values_in_protocols_of_text(name: str, protocol: int) -> None:
    assert unknown(pickle.dumps(HONEST[name], protocol)) == set()


def test_an_enumeration_as_python_3_11_2_pickles_it() -> None:
    for owner, member in (
        ("torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING", "TORCH_PRESERVE_FORMAT"),
        ("megatron.core.transformer.enums.AttnBackend", "auto"),
        ("signal.Signals", "SIGTERM"),
    ):
        module, _, name = owner.rpartition(".")
        pickled = hostile.reduce(
            hostile.name("builtins", "getattr"), hostile.name(module, name), hostile.text(member)
        )
        assert unknown(pickled + b".") == set()
        assert unknown(pickled + b")R.") == {"builtins.getattr()()"}


def test_the_table_is_of_full_names_each_in_one_place() -> None:
    known = pickled_names.load()
    groups = (set(known.te), known.call, known.refer, known.enums, set(known.guarded))
    for number, one in enumerate(groups):
        assert all("." in name and name == name.strip(".") for name in one)
        for other in groups[number + 1 :]:
            assert not set(one) & set(other)
    assert set(known.callers) <= known.call


def test_a_persistent_id_that_is_none_of_pytorchs_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(hostile.torch_zip(b"\x80\x02" + hostile.text("evil") + b"Q."))
    assert any("1 persistent id" in note for note in inspect(path, ["1.11"]).notes)


def test_storages_of_one_key_and_two_types_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    both = torch.ones(4), torch.zeros(4, dtype=torch.int32)
    torch.save(list(both), stream, _use_new_zipfile_serialization=False)
    data = stream.getvalue()
    keys = [t.untyped_storage()._cdata for t in both]
    one, other = (struct.pack("<I", len(str(k))) + str(k).encode() for k in keys)
    (tmp_path / "x.pt").write_bytes(data.replace(other, one))
    with pytest.raises(CheckpointError, match="two types|two storages"):
        inspect(tmp_path / "x.pt")
