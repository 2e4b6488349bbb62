"""Modules that lack an extra state which others like them have.

Strict loading misses the state of every module of Transformer Engine but attention. A checkpoint
of which some states were left out, or are of another rank, does not tell which modules are
Transformer Engine's. But layers of a model are alike: a module whose path differs by a number only
from that of one with a state, and that has the same tensors, most likely is.
"""

from __future__ import annotations

import re

from matrix.checkpoint.contents import Contents
from matrix.checkpoint.states import KEY

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def without_state(contents: Contents) -> list[str]:
    """Return the paths of the modules without an extra state where others like them have one."""
    held = {KEY.sub("", state.key) for state in (*contents.states, *contents.foreign)}
    ours = {KEY.sub("", state.key) for state in contents.states if not state.shard}
    like = {_alike(path, contents) for path in ours if path in contents.modules}
    return [
        path for path in contents.modules if path not in held and _alike(path, contents) in like
    ]


def _alike(path: str, contents: Contents) -> tuple[str, frozenset[str]]:
    """Return what is the same of modules that are alike: names but for numbers, and tensors."""
    return _NUMBER.sub("*", path), frozenset(contents.modules[path])
