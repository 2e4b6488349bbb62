"""The pairs of releases that raised an error of a known cause, from the recorded evidence.

A file beside the evidence lists them by cause, so that an answer does not take judging the whole
matrix. It is written whenever evidence is recorded.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeAlias

from matrix.catalogue.scenarios import REWRITE
from matrix.catalogue.words import Lane
from matrix.doctor.symptoms import claims
from matrix.doctor.symptoms.text import squeezed
from matrix.judge import endings, ways
from matrix.judge.judgement import Judgement
from matrix.store import derived
from matrix.store.records import Failure, Record

FORMAT = 1
"""Version of the file's format."""
_NAME = "errors.json.xz"
_VARIANTS = ("plain", "trusted", "remapped")
_FILE = re.compile(r"from'[^']*'>$")
_Combination: TypeAlias = tuple[str, str, str]
"""Names of scenario, saver and loader."""


class Pairs(Record):
    """Pairs of releases in one scenario: each of the savers with each of the loaders."""

    scenario: str
    """Name of the scenario."""
    savers: tuple[str, ...]
    """Names of the releases that saved."""
    loaders: tuple[str, ...]
    """Names of the releases that loaded."""

    def combinations(self) -> Iterator[_Combination]:
        """Yield the combinations of scenario, saver and loader."""
        for saver in self.savers:
            yield from ((self.scenario, saver, loader) for loader in self.loaders)


class SeenError(Record):
    """An error in the evidence."""

    cause: str
    """Id of its cause in ``symptoms.toml``."""
    message: str
    """Class and message without white space, as every text has it that quotes them."""
    pairs: tuple[Pairs, ...]
    """The pairs that raised it."""
    mended: tuple[Pairs, ...]
    """Those of them that go well after some rewrite, with nothing given up."""


class SeenErrors(Record):
    """The errors in the recorded evidence whose cause is known."""

    format: int = FORMAT
    """Version of the file's format."""
    errors: tuple[SeenError, ...]
    """The errors by cause and message."""


@dataclasses.dataclass(frozen=True)
class SeenPairs:
    """The combinations of saver, loader and scenario that raised an error."""

    by_savers: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    """(savers, loaders), each standing for all pairs of one of them with one of the others."""
    scenarios: tuple[str, ...]
    count: int
    """Number of combinations."""
    mended: int
    """Number of combinations that go well after some rewrite, with nothing given up."""


@functools.cache
def load(lane: Lane) -> SeenErrors:
    """Return the errors in the recorded evidence of a lane.

    :raises StoreError: the file is missing, or cannot be read.
    """
    return derived.read(lane, _NAME, SeenErrors)


def write(lane: Lane, errors: SeenErrors) -> None:
    """Write the file of a lane.

    :raises OSError: it cannot be written.
    """
    load.cache_clear()
    derived.write(lane, _NAME, errors.model_dump_json())


def pairs(cause: str, text: str, seen: SeenErrors) -> SeenPairs | None:
    """Return the pairs that raised an error of a cause, or None if none did.

    :param text: a squeezed text; where it has the very message of some of these errors, their
        pairs alone are returned.
    """
    rows = [row for row in seen.errors if row.cause == cause]
    rows = [row for row in rows if row.message in text] or rows
    combinations = {c: None for row in rows for group in row.pairs for c in group.combinations()}
    mended = {c for row in rows for group in row.mended for c in group.combinations()}
    if not combinations:
        return None
    return SeenPairs(
        tuple(_grouped((saver, loader) for _scenario, saver, loader in combinations)),
        tuple(dict.fromkeys(scenario for scenario, _saver, _loader in combinations)),
        len(combinations),
        len(mended),
    )


def of(judgement: Judgement) -> SeenErrors:
    """Return the errors in a judgement whose cause is known."""
    mended = _mended(judgement)
    found: dict[tuple[str, str], dict[_Combination, None]] = defaultdict(dict)
    for judged in judgement.verdicts:
        cell = judged.cell
        if judged.error and cell.variant in _VARIANTS:
            for cause in causes_of(judged.error):
                combination = cell.scenario, cell.saved_by, cell.loaded_by
                found[cause, _message(judged.error)][combination] = None
    return SeenErrors(
        errors=tuple(
            SeenError(
                cause=cause,
                message=message,
                pairs=_by_scenario(combinations),
                mended=_by_scenario([c for c in combinations if c in mended]),
            )
            for (cause, message), combinations in sorted(found.items())
        )
    )


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


def _message(error: Failure) -> str:
    return _squeezed_message(f"{error.type}: {error.message}")


@functools.lru_cache(maxsize=4096)
def _squeezed_message(message: str) -> str:
    return _FILE.sub("", squeezed(message))


def _by_scenario(combinations: Iterable[_Combination]) -> tuple[Pairs, ...]:
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for scenario, saver, loader in combinations:
        found[scenario].append((saver, loader))
    return tuple(
        Pairs(scenario=scenario, savers=savers, loaders=loaders)
        for scenario, them in found.items()
        for savers, loaders in _grouped(them)
    )


def _grouped(them: Iterable[tuple[str, str]]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield savers that failed in the same loaders, with these."""
    loaders: Mapping[str, dict[str, None]] = defaultdict(dict)
    for saver, loader in them:
        loaders[saver][loader] = None
    savers: Mapping[Collection[str], list[str]] = defaultdict(list)
    for saver, names in loaders.items():
        savers[frozenset(names)].append(saver)
    for alike in savers.values():
        yield tuple(alike), tuple(loaders[alike[0]])


def _mended(judgement: Judgement) -> set[_Combination]:
    """Return every (scenario, saver, loader) that a rewrite mends with nothing given up."""
    return {
        (v.cell.scenario, v.cell.saved_by, v.cell.loaded_by)
        for v in judgement.verdicts
        if v.cell.variant.startswith(REWRITE)
        and (across := ways.across({v.cell.variant: endings.of_judged(v)}))
        and not across.gives_up
    }
