"""The scenario that a checkpoint resembles, and whether it has metadata to lose."""

from __future__ import annotations

from matrix.checkpoint.contents import Contents
from matrix.checkpoint.words import Holds

NO_STATE = "no-state"
"""Name for checkpoints without any FP8 state, for which there is no scenario."""


def scenario_of(contents: Contents) -> str | None:
    """Return the scenario that a checkpoint resembles.

    ``fp8-weights`` if it has quantized weights, ``autocast`` if every module has FP8 state,
    ``attention-only`` if some modules were saved without it, ``no-state`` if all were.

    :returns: the scenario's name, or None if there are no extra states at all.
    """
    if not contents.states:
        return None
    if contents.weights:
        return "fp8-weights"
    holding = [state.holds is not Holds.NOTHING for state in contents.states]
    if not any(holding):
        return NO_STATE
    return "autocast" if all(holding) else "attention-only"


def nothing_to_lose(contents: Contents) -> bool:
    """Return whether the attention's metadata is all at its defaults, or absent."""
    return all(
        state.holds in (Holds.NOTHING, Holds.DEFAULTS)
        for state in contents.states
        if state.attention
    )
