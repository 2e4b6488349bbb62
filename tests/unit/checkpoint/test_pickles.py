"""Rule: a pickle is read for what it says, whatever it says, and nothing in it ever runs."""

from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import struct
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.formats import recorded_bytes
from matrix.checkpoint import emit, nodes, objects, pickles, torchfile
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.formats import torch_save
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.nodes import Call, Elements, Global, Map
from matrix.cli import main
from matrix.doctor import CheckpointError, inspect

PROTOCOLS = range(6)


class Runs:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


def python(node: Any) -> Any:
    """Turn an inert tree of plain values back into the values."""
    match node:
        case Map(pairs):
            return {python(k): python(v) for k, v in pairs}
        case Elements("set", items):
            return {python(item) for item in items}
        case tuple():
            return tuple(map(python, node))
        case list():
            return list(map(python, node))
        case Call(function=Global(name="set")):
            return set(python(node.arguments[0]))
    return objects.bytes_of(node) if objects.bytes_of(node) is not None else node


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4)
    | st.tuples(inner, inner)
    | st.dictionaries(st.text(), inner, max_size=4)
    | st.sets(st.integers(), max_size=3),
    max_leaves=20,
)


@given(plain, st.sampled_from(PROTOCOLS))
def test_plain_values_are_what_pickle_makes_of_them(value: Any, protocol: int) -> None:
    assert python(pickles.read(pickle.dumps(value, protocol)).root) == value


@given(plain)
def test_what_is_emitted_is_what_was_read(value: Any) -> None:
    root = pickles.read(pickle.dumps(value, 4)).root
    written = emit.emit(root, 4)
    assert pickle.loads(written) == value
    assert nodes.same(pickles.read(written).root, root)


def test_what_is_one_object_stays_one() -> None:
    shared = ["s"]
    one, other = pickle.loads(emit.emit(pickles.read(pickle.dumps([shared, shared])).root, 2))
    assert one is other
    apart = pickles.read(pickle.dumps([["s"], ["s"]])).root
    together = pickles.read(pickle.dumps([shared, shared])).root
    assert not nodes.same(apart, together)


def test_a_tree_that_differs_is_not_the_same() -> None:
    one, other = (pickles.read(pickle.dumps(v)).root for v in ({"a": 1}, {"a": True}))
    assert not nodes.same(one, other)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "function", [os.mkdir, os.system, exec, eval, getattr, pickle.loads, sys.setrecursionlimit]
)
def test_nothing_runs(tmp_path: Path, protocol: int, function: Any) -> None:
    """Neither at the top, nor nested, nor by way of BUILD, items or a persistent id."""
    mine = tmp_path / "ran"
    bad = Runs(os.mkdir, str(mine)), Runs(function, str(mine))
    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps({"a": [bad, {"b": (bad,)}]}, protocol))
    warnings = inspect(path, ["1.11"]).warnings
    assert not mine.exists()
    assert "posix.mkdir()" in warnings
    assert any(function.__name__ in warning for warning in warnings)


HOSTILE: dict[str, bytes] = {
    "GLOBAL os.system": b"cos\nsystem\n(S'true'\ntR.",
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'true'\no.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "nested REDUCE": b"\x80\x02" + b"cos\nsystem\n" * 40 + b")R" + b"\x85R" * 39 + b".",
    "BUILD": b"\x80\x02cos\nsystem\n)R}X\x04\x00\x00\x00codeNsb.",
    "EXT1": b"\x80\x02\x82\x01)R.",
    "EXT4": b"\x80\x02\x84\x01\x00\x00\x00)R.",
    "persistent id, text": b"Pevil\n.",
    "persistent id of a call": b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85RQ.",
    "NEWOBJ_EX": b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92.",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "a tuple in itself": b"\x80\x02]q\x00h\x00\x85q\x01a0h\x01.",
    "an unhashable key": b"\x80\x02}]Ns.",
}
BROKEN: dict[str, bytes] = {
    "empty": b"",
    "STOP missing": b"\x80\x02N",
    "STOP with two values": b"\x80\x02NN.",
    "STOP with none": b"\x80\x02.",
    "STOP with a mark": b"\x80\x02(.",
    "LONG4 of 2 GiB": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "LONG4 of a negative length": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "BINUNICODE8 of 16 EiB": b"\x80\x04\x8d" + b"\xff" * 8 + b".",
    "BINBYTES8 of 1 TiB": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b".",
    "BYTEARRAY8 of 1 TiB": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
    "FRAME of 16 EiB and nothing": b"\x80\x04\x95" + b"\xff" * 8,
    "memo never written": b"\x80\x02h\x07.",
    "a huge memo index read": b"\x80\x02j\xff\xff\xff\xff.",
    "APPEND on a number": b"\x80\x02K\x01K\x02a.",
    "SETITEMS with an odd count": b"\x80\x02}(K\x01u.",
    "BUILD on a number": b"\x80\x02K\x01}b.",
    "POP of nothing": b"0.",
    "protocol 9": b"\x80\x09N.",
    "an unknown opcode": b"\x80\x02\xff.",
    "bad UTF-8": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "a number that is none": b"Iabc\n.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "STACK_GLOBAL of numbers": b"\x80\x04K\x01K\x02\x93.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_read_and_reported(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02" + HOSTILE[name].removeprefix(b"\x80\x02"))
    report = inspect(path, ["1.11"])
    if b"system" in HOSTILE[name]:
        assert any("os.system" in warning for warning in report.warnings)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_pickles_end_in_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        pickles.read(BROKEN[name])
    path = tmp_path / "x.pt"
    path.write_bytes(BROKEN[name])
    with pytest.raises(CheckpointError, match=r"x.pt is no checkpoint that can be read") as caught:
        inspect(path)
    assert "\n" not in str(caught.value)


def in_torch_zip(pickled: bytes, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return path


GOES_ON = {"APPEND on a number", "BUILD on a number", "out-of-band buffer"}
"""Where Python goes on if there is nothing to change, or has buffers, and this reader does not."""


@pytest.mark.parametrize("name", sorted(GOES_ON))
def test_what_python_may_go_on_behind_refuses_the_whole_file(name: str, tmp_path: Path) -> None:
    torch.save({"core_attention._extra_state": io.BytesIO(BROKEN[name])}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError):
        inspect(tmp_path / "x.pt")


@pytest.mark.parametrize("name", sorted({**HOSTILE, **BROKEN}.keys() - GOES_ON))
def test_the_same_inside_a_torch_file_and_inside_an_extra_state(name: str, tmp_path: Path) -> None:
    payload = {**HOSTILE, **BROKEN}[name]
    hostile = name in HOSTILE
    path = in_torch_zip(payload, tmp_path / "x.pt")
    if hostile:
        inspect(path, ["1.11"])
    else:
        with pytest.raises(CheckpointError):
            inspect(path)
    state = {"core_attention._extra_state": io.BytesIO(payload)}
    torch.save(state, path)
    (module,) = inspect(path, ["1.11"]).modules
    assert module.holds in ("unreadable", "nothing")
    if payload:
        tensor = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
        torch.save({"core_attention._extra_state": tensor}, path)
        (module,) = inspect(path, ["1.11"]).modules
        assert module.holds in ("unreadable", "nothing")


def spent(work: Callable[[], object]) -> tuple[float, int]:
    """Return seconds and peak bytes of Python objects."""
    tracemalloc.start()
    began = time.monotonic()
    work()
    seconds, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak


def test_a_laughing_memo_costs_what_it_is_long() -> None:
    """Sixty levels of lists that each hold the one before ten times over."""
    bomb = b"\x80\x02]q\x00"
    for level in range(60):
        ten = b"h" + bytes([level])
        bomb += b"](" + ten * 10 + b"eq" + bytes([level + 1])
    bomb += b"."
    bomb = b"\x80\x02(" + bomb[2:-1] + b"l."
    read = pickles.read(bomb)
    _seconds, peak = spent(lambda: sum(1 for _ in nodes.every(read.root)))
    assert peak < 1 << 20
    assert len(emit.emit(read.root, 2)) < 10_000


def test_deep_nesting_is_read_and_not_recursed_into(tmp_path: Path) -> None:
    deep = b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
    root = pickles.read(deep).root
    assert sum(1 for _ in nodes.every(root)) == 200_000
    with pytest.raises(Malformed, match="deep"):
        emit.emit(root, 2)
    inspect(in_torch_zip(deep, tmp_path / "x.pt"), ["1.11"])


def test_what_a_terminal_would_obey_is_written_out(tmp_path: Path) -> None:
    evil = "\x1b[31mred\x07._extra_state"
    torch.save({evil: io.BytesIO(b"x"), "w": torch.ones(1)}, tmp_path / "x.pt")
    shown = CliRunner().invoke(main, ["inspect", str(tmp_path / "x.pt")], env={"COLUMNS": "200"})
    assert "\x1b" not in shown.output and "\\x1b[31mred" in shown.output
    with pytest.raises(CheckpointError) as caught:
        inspect(tmp_path / "\x1b[31mgone")
    assert "\x1b" not in str(caught.value)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * (200 << 19) + b"N.")
    assert path.stat().st_size < 1 << 20
    with pytest.raises(CheckpointError, match="compressed"):
        inspect(path)


def test_a_zip_that_lies_about_a_size_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * (64 << 20) + b"N.")
    data = bytearray(path.read_bytes())
    real = struct.pack("<I", 2 + (64 << 21) + 2)
    for _ in range(2):
        place = data.index(real)
        data[place : place + 4] = struct.pack("<I", 100)
    path.write_bytes(data)
    _seconds, peak = spent(lambda: pytest.raises(CheckpointError, inspect, path))
    assert peak < 64 << 20


def test_a_directory_that_says_it_is_huge_is_not_read(tmp_path: Path) -> None:
    path = in_torch_zip(b"\x80\x02}.", tmp_path / "x.pt")
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="zip directory"):
        inspect(path)


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data.pkl", HOSTILE["GLOBAL os.system"])
    with pytest.raises(CheckpointError, match="two entries of one name"):
        inspect(path)


def test_a_legacy_file_whose_lengths_lie_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"w": torch.ones(4)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match="cut short in storage"):
        inspect(path)
    place = data.rindex(struct.pack("<q", 4))
    path.write_bytes(data[:place] + struct.pack("<q", 1 << 50) + data[place + 8 :])
    with pytest.raises(CheckpointError, match="cut short in storage"):
        inspect(path)


def test_getattr_is_excused_only_for_methods_of_te_and_the_enum_of_an_index() -> None:
    def strangers(arguments: bytes) -> list[str]:
        budget = Budget()
        pickles.read(b"cbuiltins\ngetattr\n" + arguments, budget)
        return sorted(budget.lookups.unknown)

    fine = b"(ctransformer_engine.pytorch.float8_tensor\nFloat8Tensor\nS'_make_in_reduce_ex'\ntR."
    assert strangers(fine) == []
    assert strangers(b"(cos\nenviron\nS'get'\ntR.") == ["builtins.getattr()", "os.environ"]
    enum = b"(ctorch.distributed.checkpoint.metadata\n_MEM_FORMAT_ENCODING\n"
    assert strangers(enum + b"S'TORCH_PRESERVE_FORMAT'\ntR.") == []
    assert strangers(enum + b"S'__init_subclass__'\ntR.") == ["builtins.getattr()"]


def test_optimizer_state_and_arguments_beside_the_model(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    import argparse

    state = torch.load(io.BytesIO(recorded_bytes("1.11")), weights_only=False)
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1.0}]}
    whole = collections.OrderedDict(
        model=state, optimizer=optimizer, args=argparse.Namespace(fp8="hybrid")
    )
    torch.save(whole, path)
    report = inspect(path, ["1.11"])
    assert report.warnings == ()
    assert report.targets[0].status == "loads"


SEEDS = [
    recorded_bytes("1.7"),
    recorded_bytes("2.17.1"),
    pickle.dumps({"core_attention._extra_state": io.BytesIO(b"abc")}),
    *HOSTILE.values(),
    *BROKEN.values(),
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_fuzzed_files_are_read_or_refused(data: st.DataObject) -> None:
    """Mutated checkpoints and pickles end in a tree or in one clear refusal; no other error."""
    seed = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, max(0, len(seed) - 1)))
        seed[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    read_all(bytes(seed))


OPCODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(OPCODES) | st.binary(max_size=5), max_size=60))
def test_fuzzed_opcodes_are_read_or_refused(parts: list[bytes]) -> None:
    read_all(b"\x80\x04" + b"".join(parts) + b".")


def read_all(data: bytes) -> None:
    try:
        source = torchfile.of_bytes(data)
    except Malformed:
        return
    torch_save.add(source, "x", Contents())
    try:
        written = emit.emit(source.root, source.protocol)
    except Malformed:
        return
    assert nodes.same(pickles.read(written).root, source.root)
