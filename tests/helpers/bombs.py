"""Pickles that take many times their size in memory, or no end of time, in a naive reader."""

from __future__ import annotations

import struct
from collections.abc import Callable

from helpers.hostile import name, text

_CLASS = name("collections", "OrderedDict")
_OBJECT = _CLASS + b")R"

PICKLES: dict[str, Callable[[int], bytes]] = {
    "empty dicts": lambda n: b"\x80\x02(" + b"}" * n + b"l.",
    "empty lists": lambda n: b"\x80\x02(" + b"]" * n + b"l.",
    "empty sets": lambda n: b"\x80\x04(" + b"\x8f" * n + b"l.",
    "marks": lambda n: b"\x80\x02" + b"(" * n + b".",
    "tuples in tuples": lambda n: b"\x80\x02)" + b"\x85" * n + b".",
    "tuples of two": lambda n: b"\x80\x02)" + b")\x86" * n + b".",
    "lists in lists": lambda n: b"\x80\x02" + b"]" * n + b"a" * (n - 1) + b".",
    "calls": lambda n: b"\x80\x02(" + _CLASS + b"q\x000" + b"h\x00)R" * n + b"l.",
    "BUILD": lambda n: b"\x80\x02" + _OBJECT + b"}b" * n + b".",
    "BUILD with one state": lambda n: b"\x80\x02" + _OBJECT + b"}q\x000" + b"h\x00b" * n + b".",
    "numbers": lambda n: b"\x80\x02(" + b"M\x00\x08" * n + b"l.",
    "fractions": lambda n: b"\x80\x02(" + (b"G" + struct.pack(">d", 0.1)) * n + b"l.",
    "long numbers": lambda n: b"\x80\x02(" + b"\x8a\x02\xff\x7f" * n + b"l.",
    "short texts": lambda n: b"\x80\x04(" + b"\x8c\x02ab" * n + b"l.",
    "pushed and popped": lambda n: b"\x80\x02" + b"N0" * n + b"N.",
    "the memo read": lambda n: b"\x80\x02]q\x000" + b"h\x000" * n + b"N.",
    "the memo written": lambda n: b"\x80\x02]" + b"q\x00" * 2 * n + b".",
    "MEMOIZE": lambda n: b"\x80\x04]" + b"\x94" * n + b".",
    "a memo far away": lambda n: b"\x80\x02]r" + struct.pack("<I", 8 * n) + b".",
    "persistent ids": lambda n: b"\x80\x02)" + b"Q" * n + b".",
    "lookups": lambda n: b"\x80\x02" + name("torch", "Size") * n + b".",
    "names": lambda n: b"\x80\x02" + b"".join(name("m", f"n{i}") for i in range(n)) + b".",
    "a text beyond Latin-1": lambda n: b"\x80\x02" + text("x" * 6 * n + "\U0001f600") + b".",
    "a text": lambda n: b"\x80\x02" + text("x" * 12 * n) + b".",
    "one list, appended to": lambda n: b"\x80\x02]" + b"Na" * n + b".",
    "one dict, set in": lambda n: b"\x80\x02}" + b"NNs" * n + b".",
    "extensions": lambda n: b"\x80\x02" + b"\x82\x01" * n + b".",
}  # fmt: skip
"""By what they consist of, each a function of how many."""


def sized(kind: str, size: int) -> bytes:
    """Return one of them that has about ``size`` bytes."""
    each = (len(PICKLES[kind](2000)) - len(PICKLES[kind](1000))) / 1000
    return PICKLES[kind](int(size / max(each, 1)))
