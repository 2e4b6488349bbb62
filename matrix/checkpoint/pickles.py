"""Pickles parsed into a tree of inert values (:mod:`nodes`) without executing them.

Nothing is imported and nothing is called. Where a pickle refers to a class or a function,
the tree holds its name; where it calls one, the tree holds the call. What it looks up and calls
is noted opcode by opcode (:mod:`lookups`), whether the tree keeps it or not.
"""

from __future__ import annotations

from typing import BinaryIO

from matrix.checkpoint import limits
from matrix.checkpoint.errors import Refused
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.machine import CutShort, Machine, Pickle
from matrix.system.collector import gc_paused

_WINDOW = 1 << 16


def read(data: bytes, budget: Budget | None = None, *, more: bool = False) -> Pickle:
    """Read a pickle from the beginning of bytes.

    :param budget: what may be read; what is read is deducted, and what is looked up is noted.
    :param more: whether it is tried again with more bytes if these are too few.
    :raises Malformed: it is no pickle, is cut short, or exceeds the limits.
    """
    budget = budget or Budget()
    if len(data) > limits.PICKLE_BYTES:
        raise Refused(f"a pickle of {len(data)} bytes is more than is ever read")
    budget.spend(len(data))
    machine, again = Machine(data, budget), False
    try:
        with gc_paused():
            return machine.run()
    except CutShort:
        again = more
        raise
    finally:
        if not again:
            machine.close()


def read_whole(data: bytes, budget: Budget | None = None) -> Pickle:
    """Read a pickle that nothing follows; see :func:`read`.

    :raises Refused: something follows it, which other readers may read.
    """
    found = read(data, budget)
    if found.end != len(data):
        raise Refused(f"{len(data) - found.end} bytes follow the end of its pickle")
    return found


def read_stream(stream: BinaryIO, budget: Budget | None = None) -> Pickle:
    """Read one pickle from the current position of a stream, which is then behind it.

    Its length is not known before, so it is tried with more and more bytes.

    :raises Malformed: it is no pickle, is cut short, or exceeds the limits.
    """
    budget = budget or Budget()
    start, size = stream.tell(), _WINDOW
    while True:
        stream.seek(start)
        data = stream.read(min(size, limits.PICKLE_BYTES))
        left = budget.left
        try:
            found = read(data, budget, more=len(data) == size)
        except CutShort:
            if len(data) < size:
                raise
            budget.left = left
            size *= 8
        else:
            stream.seek(start + found.end)
            return found
