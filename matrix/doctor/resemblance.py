"""Which of the matrix's scenarios a checkpoint resembles, and whether it has metadata to lose."""

from __future__ import annotations

from matrix.checkpoint.contents import Contents
from matrix.checkpoint.words import Holds

NO_STATE = "no-state"
"""Stands for a scenario that the matrix does not have: no module has any FP8 state."""


def scenario_of(contents: Contents) -> str | None:
    """Return the scenario that a checkpoint resembles.

    ``fp8-weights``: it holds quantized weights. ``attention-only``: some module was saved
    without FP8 state. ``autocast``: every module has some. ``no-state``: none has any,
    which the matrix has no scenario for. None: it holds no extra states at all.
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
    """Tell whether the attention's metadata is all at its defaults, or there is none."""
    return all(
        state.holds in (Holds.NOTHING, Holds.DEFAULTS)
        for state in contents.states
        if state.attention
    )
