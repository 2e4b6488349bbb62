"""What to do about what a release does with a checkpoint, and names for it, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from matrix.catalogue.releases import Release
from matrix.catalogue.state_keys import state_key
from matrix.catalogue.words import Deviation
from matrix.doctor.answers import Answer
from matrix.doctor.sightings import LoadStatus
from matrix.judge import ledger
from matrix.system.counting import first_of

SHOWN = 3
"""The most keys, or sentences, that are listed."""
_DEVIATIONS = {
    LoadStatus.FAILS: Deviation.ERROR,
    LoadStatus.RESETS: Deviation.DEFAULTS,
    LoadStatus.FROZEN: Deviation.FROZEN,
}


class _Predicted(Protocol):
    @property
    def release(self) -> str: ...
    @property
    def status(self) -> LoadStatus: ...
    @property
    def detail(self) -> str: ...


def without_harm(made: _Predicted, *, incomplete: bool, cast: bool) -> str:
    """Return what to do where a release is not known to do harm; empty where nothing is.

    :param made: what the release does.
    :param incomplete: whether states are missing that modules like theirs have.
    :param cast: whether a state was cast to another type as a whole.
    """
    match made.status:
        case LoadStatus.DEPENDS if incomplete:
            return (
                "Load it with strict=False if it is known to be complete, or save it anew with all "
                "its states"
            )
        case LoadStatus.DEPENDS if "saved by" in made.detail:
            return "Name the saver with --saved-by"
        case LoadStatus.UNKNOWN if cast:
            return (
                f"Run te-matrix remap IN OUT --to {made.release}: it turns them back, and has the "
                "release's own code try the result"
            )
        case _:
            return ""


def missed(paths: Sequence[str]) -> str:
    """Return what strict loading may miss of modules without an extra state."""
    return (
        "strict loading fails if these are modules of Transformer Engine, as they have no extra "
        f"state and modules like them have one ({some([state_key(path) for path in paths])})"
    )


def some(keys: Sequence[str]) -> str:
    """Return the first of some keys, and how many more there are."""
    return first_of(keys, SHOWN)


def applies(entry: ledger.LedgerEntry, saver: Release, loader: Release, answer: Answer) -> bool:
    """Return whether a ledger entry explains an answer, whatever scenario it is about."""
    seen, deviation = answer.sighting, _DEVIATIONS[answer.status]
    if seen is None or not (entry.saves(saver) and entry.loads(loader)):
        return False
    if deviation != Deviation.ERROR:
        return entry.observed == deviation
    return seen.stage is not None and entry.explains(deviation, seen.stage, seen.error)
