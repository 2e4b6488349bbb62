"""What a command line selects: releases, scenarios, variants."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from packaging.version import Version
from pydantic import BaseModel, ConfigDict

from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Catalogue, Release
from matrix.catalogue.words import Lane, RunnerName
from matrix.errors import UsageError, nearest


class Selection(BaseModel):
    """What a command line selects, as it was typed; None where it says nothing.

    A run leaves its selection in the store, and the commands that only read the store
    take it up where they are given none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    releases: str | None = None
    saved_by: str | None = None
    loaded_by: str | None = None
    scenario: str | None = None
    variant: str | None = None
    candidate: tuple[str, ...] = ()
    size: str | None = None
    scenario_file: Path | None = None
    lane: Lane | None = None
    runner: RunnerName | None = None
    images_lock: Path | None = None
    base: str | None = None


DEFAULTS = {"releases": "bands", "scenario": "autocast", "variant": "plain,remapped"}
"""What is selected where an option of a selection is left out."""

EVERYTHING = dict.fromkeys(DEFAULTS, "all")
"""The options that select the whole catalogue."""

GRAMMAR = "bands | all | latest:N | a band | a release | FROM-TO, joined by commas"


def releases(
    catalogue: Catalogue,
    documentation: Documentation,
    text: str,
    *,
    with_candidates: bool = True,
) -> list[Release]:
    """Return the releases that ``text`` selects, oldest first.

    :param text: see :data:`GRAMMAR`; ``bands`` is the first and the last release of
        each of the FAQ's bands (the newest of all is the last of the last band).
    :param with_candidates: candidates always are selected; else only where they are named.
    :raises UsageError: a name is unknown, or nothing is selected.
    """
    candidates = catalogue.releases if with_candidates else ()
    chosen = {release.name for release in candidates if release.candidate}
    for term in _terms(text):
        found = _term(catalogue, documentation, term)
        if not found:
            raise UsageError(
                f"--releases {term} selects nothing", do=nearest(term, catalogue.names())
            )
        chosen.update(release.name for release in found)
    return [release for release in catalogue.releases if release.name in chosen]


def _terms(text: str) -> list[str]:
    terms = [term.strip() for term in text.split(",") if term.strip()]
    if not terms:
        raise UsageError("an empty selection selects nothing", do=f"Give {GRAMMAR}")
    return terms


def _term(catalogue: Catalogue, documentation: Documentation, term: str) -> list[Release]:
    known = [release for release in catalogue.releases if not release.candidate]
    if term == "all":
        return known
    if term == "bands":
        return _band_ends(known, documentation)
    if term in {band.name for band in documentation.bands}:
        return [release for release in known if documentation.band(release).name == term]
    if match := re.fullmatch(r"latest:(\d+)", term):
        return known[-int(match[1]) :] if int(match[1]) else []
    if match := re.fullmatch(r"([^-]+)-([^-]+)", term):
        first, last = (catalogue[end.strip()] for end in match.groups())
        return [r for r in known if first.order <= r.order <= last.order]
    return [catalogue[term]]


def _band_ends(known: Sequence[Release], documentation: Documentation) -> list[Release]:
    ends = []
    for band in documentation.bands:
        members = [release for release in known if documentation.band(release) == band]
        ends += [members[0], members[-1]] if members else []
    return ends


def names(kind: str, known: Iterable[str], text: str) -> list[str]:
    """Return the names that ``text`` selects, in the order of ``known``.

    :param kind: what they name, for the error: "scenario" or "variant".
    :param text: ``all``, or names joined by commas.
    :raises UsageError: a name is unknown, or none is given.
    """
    known = list(known)
    if text == "all":
        return known
    chosen = _terms(text)
    for name in chosen:
        if name not in known:
            raise UsageError(f"there is no {kind} {name}", do=nearest(name, known))
    return [name for name in known if name in chosen]


def covers(ranges: str) -> Callable[[str], bool]:
    """Return a test for closed ranges of versions, e.g. ``1.6-1.7, 2.16.1``.

    :raises ValueError: a range is open or is not made of versions.
    """
    pairs = _pairs(ranges)
    return lambda version: any(low <= Version(version) <= high for low, high in pairs)


def common(one: str, other: str) -> str:
    """Return a version that two sets of closed ranges both hold; empty where there is none."""
    for low, high in _pairs(one):
        for first, last in _pairs(other):
            if max(low, first) <= min(high, last):
                return str(max(low, first))
    return ""


def _pairs(ranges: str) -> list[tuple[Version, Version]]:
    pairs = []
    for part in ranges.split(","):
        first, dash, last = part.strip().partition("-")
        if dash and not last:
            raise ValueError(f"{part.strip()!r} has no end")
        pairs.append((Version(first), Version(last or first)))
    if any(first > last for first, last in pairs):
        raise ValueError(f"{ranges!r} runs backwards")
    return pairs
