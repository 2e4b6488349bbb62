"""Norms without an extra state, as 1.12 and older save them, and those to be added.

A norm is known by its tensors: a weight of one dimension, with a bias or without. PyTorch's own
norms have the same, so that whether one is Transformer Engine's only the user knows.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterator

from matrix.catalogue.state_keys import state_key
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.errors import CheckpointError
from matrix.checkpoint.states import KEY, ExtraState
from matrix.checkpoint.words import StateContainer

_SHOWN = 5
_PARAMETERS = ({"weight"}, {"weight", "bias"})
"""Those of ``RMSNorm`` and ``LayerNorm`` in ``pytorch/module``."""


def without_state(contents: Contents) -> dict[str, str]:
    """Return the modules that look like norms and have no extra state: the module by its path."""
    held = {KEY.sub("", state.key) for state in (*contents.states, *contents.foreign)}
    return {
        path: "LayerNorm" if "bias" in tensors else "RMSNorm"
        for path, tensors in contents.modules.items()
        if path not in held and tensors.keys() in _PARAMETERS and tensors["weight"].dimensions == 1
    }


def added(contents: Contents, patterns: Collection[str]) -> Iterator[ExtraState]:
    """Yield an empty extra state for each place of a norm that a pattern names.

    :param patterns: paths of modules, with ``*`` and ``?`` for any characters.
    :raises CheckpointError: a pattern names no norm without a state, or the format of the
        checkpoint is none that keys are added to.
    """
    candidates = without_state(contents)
    for pattern in patterns:
        if not fnmatch.filter(candidates, pattern):
            raise _matches_none(pattern, candidates)
    chosen = [path for path in candidates if any(fnmatch.fnmatch(path, p) for p in patterns)]
    for path in chosen:
        places = contents.weight_places.get(path, ())
        if not places:
            raise CheckpointError(
                f"no extra state is added to {path}",
                why="keys are added to files of torch.save alone",
                do="Load it with strict=False, and save it with the new release",
            )
        for file, inside in places:
            yield ExtraState(state_key(path), file, StateContainer.EMPTY_TENSOR, inside=inside)


def _matches_none(pattern: str, candidates: Collection[str]) -> CheckpointError:
    shown = ", ".join(list(candidates)[:_SHOWN]) + (", ..." if len(candidates) > _SHOWN else "")
    return CheckpointError(
        f"no norm without an extra state is called {pattern}",
        why="a norm has a weight of one dimension, and no other tensors but a bias",
        do=f"Such are: {shown}" if candidates else "There is none in this checkpoint",
    )
