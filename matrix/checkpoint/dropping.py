"""FP8 states that are given up on request, by name: of attention, of modules by path, or all."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Sequence

from matrix.checkpoint.errors import CheckpointError
from matrix.checkpoint.states import ExtraState

ALL = "*"
"""The name that every state has."""
ATTENTION_STATES = "attention"
"""The name of the states of attention, whatever their modules are called."""
ADVICE = (
    "--drop-fp8-state attention gives the state of attention up, --drop-fp8-state PATH that of a "
    "module, and --drop-fp8-state without a name all FP8 state, if that is acceptable"
)
_SHOWN = 5


def names(wanted: bool | str | Collection[str]) -> tuple[str, ...]:
    """Return the names of the states to give up.

    :param wanted: a name, or several; True for all states, False for none.
    """
    if isinstance(wanted, bool):
        return (ALL,) if wanted else ()
    return (wanted,) if isinstance(wanted, str) else tuple(wanted)


class Named:
    """Tells which states are named, and notes the names that some state has.

    :param names: ``attention``, and paths of modules with ``*`` and ``?`` for any characters.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = tuple(names)
        self._met: set[str] = set()

    def has(self, state: ExtraState, attention: bool) -> bool:
        """Return whether a state is named.

        :param attention: whether it is that of attention.
        """
        paths = state.module, state.unwrapped
        met = {
            name
            for name in self._names
            if (attention and name == ATTENTION_STATES)
            or any(fnmatch.fnmatchcase(path, name) for path in paths)
        }
        self._met |= met
        return bool(met)

    def check(self, states: Sequence[ExtraState]) -> None:
        """Check that each name is that of a state; :data:`ALL` may be that of none.

        :raises CheckpointError: one is not.
        """
        for name in self._names:
            if name not in self._met and name != ALL:
                paths = [state.module for state in states]
                more = ", ..." if len(paths) > _SHOWN else ""
                raise CheckpointError(
                    f"no module with FP8 state is called {name}",
                    why="--drop-fp8-state takes attention, or the path of a module, in which * "
                    "stands for any characters",
                    do=f"Such are: {', '.join(paths[:_SHOWN])}{more}"
                    if paths
                    else "Leave it out: the checkpoint holds no extra state",
                )
