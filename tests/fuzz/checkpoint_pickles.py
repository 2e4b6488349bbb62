"""Pickles made of opcodes that fit each other: what Python looks up and calls is named.

Python's own unpickler runs each with functions that note instead of doing anything, so that what
it does with a pickle is held against what the reader says of it.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

from helpers import bombs, hostile
from matrix.checkpoint import emit, nodes, pickles
from matrix.checkpoint.errors import Malformed, Refused
from matrix.checkpoint.limits import Budget

_NAMES = (("posix", "system"), ("builtins", "getattr"), ("collections", "OrderedDict"),
          ("torch.storage", "_load_from_bytes"), ("torch", "Size"), ("os.path", "join"),
          ("_codecs", "encode"), ("torch._tensor", "_rebuild_from_type_v2"))  # fmt: skip
_COST = 2_000_000


class _Noted:
    """What stands for a class or function while Python unpickles; a call of it is noted."""

    calls: list[str]

    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Any:
        cls.calls.append(cls.__qualname__)
        return super().__new__(cls)

    def __init__(self, *_arguments: Any, **_keywords: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def append(self, _item: Any) -> None:
        pass

    def extend(self, _items: Any) -> None:
        pass

    add = append


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.looked_up: set[str] = set()
        self.called: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        self.looked_up.add(f"{module}.{name}")
        return type("N", (_Noted,), {"calls": self.called, "__qualname__": f"{module}.{name}"})

    def persistent_load(self, _id: Any) -> Any:
        return None


def one(data: bytes) -> None:
    """Read an input as a pickle; one that begins with a zero byte says how to make one."""
    pickled = _made(random.Random(data)) if data[:1] == b"\0" else data
    budget = Budget(left=_COST)
    root = None
    try:
        root = pickles.read(pickled, budget).root
    except Refused:
        return
    except Malformed:
        pass  # Python must have ended there as well
    if data[:1] == b"\0":  # an arbitrary one may make Python take gigabytes
        _compare(pickled, budget)
    try:
        written = emit.emit(root, 4)
    except Malformed:
        return
    if not nodes.same(pickles.read(written).root, root):
        raise AssertionError("what was emitted is not what was read")


def _compare(pickled: bytes, budget: Budget) -> None:
    """Check that whatever Python looked up or called is known or named."""
    python = _Unpickler(pickled)
    with contextlib.suppress(Exception):  # what it did until then counts
        python.load()
    named = {name.removesuffix("()") for name in budget.lookups.unknown}
    called = {name[:-2] for name in budget.lookups.unknown if name.endswith("()")}
    unknown = {"posix.system", "os.path.join"}
    assert python.looked_up & unknown <= named, (python.looked_up, named)
    assert set(python.called) & unknown <= called, (python.called, called)


def _made(chance: random.Random) -> bytes:
    out = [b"\x80\x04"]
    for _part in range(chance.randint(1, 40)):
        out.append(chance.choice(_PARTS)(chance))
    return b"".join(out) + b"."


def _name(chance: random.Random) -> bytes:
    module, name = chance.choice(_NAMES)
    if chance.random() < 0.5:
        return hostile.name(module, name)
    return hostile.text(module) + hostile.text(name) + b"\x93"


def _memo(chance: random.Random) -> bytes:
    return chance.choice((b"h", b"q")) + bytes([chance.randrange(6)])


_PARTS: tuple[Callable[[random.Random], bytes], ...] = (
    _name,
    _memo,
    _memo,
    lambda _c: b"\x94",
    lambda c: hostile.text(c.choice(("a", "os", "system", "latin1"))),
    lambda c: b"K" + bytes([c.randrange(256)]),
    lambda c: c.choice((b"N", b"}", b"]", b")", b"\x8f", b"(", b"\x88")),
    lambda c: c.choice((b"R", b"\x81", b"\x92", b"o", b"b", b"Q")),
    lambda c: c.choice((b"t", b"l", b"d", b"\x91", b"\x85", b"\x86", b"\x87")),
    lambda c: c.choice((b"a", b"e", b"s", b"u", b"\x90")),
    lambda c: c.choice((b"0", b"1", b"2")),
    lambda c: _name(c) + b")R",
    lambda c: _name(c) + hostile.text("x") + b"\x85R",
    lambda _c: b"(iposix\nsystem\n",
    lambda c: b"\x82" + bytes([1 + c.randrange(5)]),
    lambda c: b"B" + struct.pack("<I", 2) + b"xy",
)


def seeds() -> Iterator[bytes]:
    """Yield hostile and costly pickles, and inputs that make others."""
    for make in hostile.PICKLES.values():
        yield make("x")
    for costly in bombs.PICKLES.values():
        yield costly(30)
    for number in range(50):
        yield b"\0%d" % number
