"""Similarity of a known error to a text, such as a traceback or a log that contains one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from matrix.catalogue.state_keys import CORE_ATTENTION

_QUOTED = 4  # fewest words that a quoted part of a message must share with it
_CLASS = re.compile(r"\b(?:[A-Za-z_]\w*\.)*([A-Z]\w*(?:Error|Exception))\b")
_KEY = re.compile(r"[\w.]*_extra_state\b")
_OWNER = re.compile(r"(loading state_dict for|extra state for) \w+")
_WORD = re.compile(r"[A-Za-z_][\w.]*|\d+")
_COMMON = {"the", "a", "an", "of", "to", "in", "is", "it", "and", "or", "for", "from", "on", "at"}


def normalized(message: str) -> str:
    """Return a message without the parts that depend on the model."""
    message = _KEY.sub(lambda key: _end_of(key[0]), message)
    return _OWNER.sub(r"\1 MODULE", " ".join(message.split()))


def _end_of(key: str) -> str:
    """Return the end of an extra state's key, which Transformer Engine and not the model names."""
    parts = key.split(".")
    start = parts.index(CORE_ATTENTION) if CORE_ATTENTION in parts else -2
    return ".".join(parts[start:])


def _words(message: str) -> set[str]:
    return {word for word in _WORD.findall(message) if word.lower() not in _COMMON}


def fit(text: str, kind: str, message: str, frames: Iterable[str]) -> float:
    """Return how well a known error fits a text, from 0 to 1, by its words, class and frames.

    It is compared with the line that shares most words with it, by the share of its words
    that are in the line and the share of the line's words that are in it.

    :param kind: the class of the error.
    :param message: its message, :func:`normalized`.
    :param frames: the frames of its traceback, as ``file:line:function``.
    """
    classes = set(_CLASS.findall(text))
    if classes and kind not in classes:
        return 0.0
    wanted = _words(message)
    best = max((_overlap(wanted, _words(line)) for line in _lines(text)), default=0.0)
    if not classes:
        best *= 0.9
    functions = {frame.rpartition(":")[2] for frame in frames}
    known = any(name in text for name in functions if name.startswith(("set_", "_load", "_make")))
    return min(1.0, best + 0.05 * known * (best > 0))


def _lines(text: str) -> Iterator[str]:
    lines = [normalized(line) for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        yield _CLASS.sub("", line)
        # PyTorch lists the keys on the lines below.
        yield _CLASS.sub("", " ".join(lines[number : number + 3]))


def _overlap(wanted: set[str], line: set[str]) -> float:
    """Return how similar a line is to a known message, or to a quoted part of one."""
    shared = len(wanted & line)
    telling = {word for word in wanted if "_" in word or "." in word}
    if not shared:
        return 0.0
    recall, precision = shared / len(wanted), shared / len(line)
    if telling and not telling & line:
        recall = 0.0
    part = precision * (0.6 + 0.4 * recall) if shared >= _QUOTED else 0.0
    return max(recall * (0.6 + 0.4 * precision), part)
