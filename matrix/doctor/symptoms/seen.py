"""The pairs of releases that raised an error of a known cause, from the evidence."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from matrix.catalogue.scenarios import REWRITE
from matrix.catalogue.words import AfterLoad, Outcome
from matrix.doctor.symptoms import claims
from matrix.doctor.symptoms.text import squeezed
from matrix.judge.judgement import JudgedCell, Judgement
from matrix.store.records import Failure

_VARIANTS = ("plain", "trusted", "remapped")
_FILE = re.compile(r"from'[^']*'>$")


@dataclasses.dataclass(frozen=True)
class SeenPairs:
    """The combinations of saver, loader and scenario that raised an error."""

    by_savers: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    """(savers, loaders), each standing for all pairs of one of them with one of the others."""
    scenarios: tuple[str, ...]
    count: int
    """Number of combinations."""
    mended: int
    """Number of combinations that load, and whose state is updated, after some rewrite."""


class SeenErrors:
    """The errors in the evidence, by their cause."""

    def __init__(self, judgement: Judgement) -> None:
        self._mended = _mended(judgement)
        self._by_cause: dict[str, list[JudgedCell]] = defaultdict(list)
        for cell in judgement.verdicts:
            if cell.error and cell.cell.variant in _VARIANTS:
                for cause in causes_of(cell.error):
                    self._by_cause[cause].append(cell)

    def pairs(self, cause: str, text: str) -> SeenPairs | None:
        """Return the pairs that raised an error of a cause, or None if none did.

        :param text: a squeezed text; where it has the very message of some of these pairs, they
            alone are returned.
        """
        cells = self._by_cause.get(cause, [])
        same = [cell for cell in cells if cell.error and _message(cell.error) in text]
        return _pairs(same or cells, self._mended) if cells else None


def causes_of(error: Failure) -> tuple[str, ...]:
    """Return the ids of the causes of an error in the evidence, the first cause first."""
    return _causes(error.type, error.message, error.frames, error.traceback)


@functools.lru_cache(maxsize=4096)
def _causes(kind: str, message: str, frames: tuple[str, ...], traceback: str) -> tuple[str, ...]:
    text = as_text(kind, message, frames, traceback)
    return tuple(claim.cause.id for claim in claims.find(text).claims)


def as_text(kind: str, message: str, frames: Iterable[str], traceback: str = "") -> str:
    """Return an error of the evidence as Python prints one.

    :param traceback: the end of the traceback, with lines of code, as far as it is recorded.
    """
    lines = ["Traceback (most recent call last):"]
    for frame in frames:
        file, _, function = frame.rpartition(":")
        lines.append(f'  File "{file}", line 1, in {function}')
    return "\n".join((*lines, traceback, f"{kind}: {message}"))


@functools.lru_cache(maxsize=4096)
def _squeezed_message(message: str) -> str:
    return _FILE.sub("", squeezed(message))


def _message(error: Failure) -> str:
    """Return what of an error's message stands in every text that quotes it."""
    return _squeezed_message(f"{error.type}: {error.message}")


def _pairs(cells: Sequence[JudgedCell], mended: set[tuple[str, str, str]]) -> SeenPairs:
    combinations = {(c.cell.scenario, c.cell.saved_by, c.cell.loaded_by): None for c in cells}
    loaders: dict[str, list[str]] = defaultdict(list)
    for _scenario, saver, loader in combinations:
        if loader not in loaders[saver]:
            loaders[saver].append(loader)
    savers: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for saver, names in loaders.items():
        savers[tuple(sorted(names))].append(saver)
    return SeenPairs(
        tuple((tuple(names), same) for same, names in savers.items()),
        tuple(dict.fromkeys(scenario for scenario, _saver, _loader in combinations)),
        len(combinations),
        len(combinations.keys() & mended),
    )


def _mended(judgement: Judgement) -> set[tuple[str, str, str]]:
    """Return every (scenario, saver, loader) of which a rewrite loads and is updated."""
    return {
        (v.cell.scenario, v.cell.saved_by, v.cell.loaded_by)
        for v in judgement.verdicts
        if v.cell.variant.startswith(REWRITE)
        and (v.outcome, v.after_load) == (Outcome.LOADED, AfterLoad.UPDATES)
    }
