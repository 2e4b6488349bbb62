"""Selections of releases, scenarios and variants, as options write them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Catalogue, Release
from matrix.catalogue.words import Lane, RunnerName
from matrix.errors import UsageError, nearest


class Selection(BaseModel):
    """The selection options of a command line; None where an option was not given.

    A run keeps its selection in the store. Commands that only read the store use it where
    they are given no selection.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    releases: str | None = None
    """Releases that save and load; see :data:`GRAMMAR`."""
    saved_by: str | None = None
    """Releases that save, where they are not those of ``releases``."""
    loaded_by: str | None = None
    """Releases that load, where they are not those of ``releases``."""
    scenario: str | None = None
    """Names of scenarios joined by commas, or ``all``."""
    variant: str | None = None
    """Names of variants joined by commas, or ``all``."""
    candidate: tuple[str, ...] = ()
    """Source trees, wheels or images under test."""
    size: str | None = None
    """Name of the size to use for all scenarios."""
    scenario_file: Path | None = None
    """A file with scenarios of the user's own."""
    lane: Lane | None = None
    """What executes Transformer Engine."""
    runner: RunnerName | None = None
    """Where it is executed."""
    images_lock: Path | None = None
    """A file that pins the base images to build on, for the docker runner."""
    base: str | None = None
    """A base image of the user's own to build on, for the docker runner."""
    binding: str | None = None
    """Folder of compiled extensions for the cpu lane, or :data:`AUTO`; None for the stand-in."""


AUTO = "auto"
"""The folder in which ``te-matrix binding`` keeps what it compiled for this PyTorch."""

FAQ = "faq"
"""Selects the FAQ's scenarios."""

DEFAULTS = {"releases": "bands", "scenario": "autocast", "variant": "plain,remapped"}
"""What is selected where an option of a selection is left out."""

EVERYTHING = {"releases": "all", "scenario": "all", "variant": "all"}
"""The options that select all that evidence is recorded of."""

_RANGE = re.compile(r"([^-\s]+)\s*-\s*([^-\s]+)")

GRAMMAR = "bands | all | latest:N | a band | a release | FROM-TO, joined by commas"
"""The form of a selection of releases, as help texts and errors show it."""


def releases(
    catalogue: Catalogue,
    documentation: Documentation,
    text: str,
    *,
    with_candidates: bool = True,
) -> list[Release]:
    """Return the releases that a text selects, oldest first.

    :param text: see :data:`GRAMMAR`; ``bands`` means the first and the last release of
        each of the FAQ's bands.
    :param with_candidates: select all candidates, also those that the text does not name.
    :raises UsageError: a name is unknown, or a part of the text selects nothing.
    """
    candidates = catalogue.releases if with_candidates else ()
    chosen = {release.name for release in candidates if release.candidate}
    for term in _terms(text):
        found = _term(catalogue, documentation, term)
        if not found:
            turned = _RANGE.fullmatch(term)
            raise UsageError(
                f"{term} selects no release",
                do=f"Write {turned[2]}-{turned[1]}" if turned else nearest(term, catalogue.names()),
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
    if match := _RANGE.fullmatch(term):
        first, last = (catalogue[end] for end in match.groups())
        return [r for r in known if first.order <= r.order <= last.order]
    return [catalogue[term]]


def _band_ends(known: Sequence[Release], documentation: Documentation) -> list[Release]:
    ends = []
    for band in documentation.bands:
        members = [release for release in known if documentation.band(release) == band]
        ends += [members[0], members[-1]] if members else []
    return ends


def names(
    kind: str, known: Iterable[str], text: str, groups: Mapping[str, Collection[str]] | None = None
) -> list[str]:
    """Return the names that a text selects, in the order of the known names.

    :param kind: what the names are, for the error message: "scenario" or "variant".
    :param known: all names that can be selected.
    :param text: ``all``, or names joined by commas.
    :param groups: names of several at once.
    :raises UsageError: a name is unknown, or the text has none.
    """
    known = list(known)
    if text == "all":
        return known
    groups = groups or {}
    chosen = [name for term in _terms(text) for name in groups.get(term, [term])]
    for name in chosen:
        if name not in known:
            raise UsageError(f"there is no {kind} {name}", do=nearest(name, [*known, *groups]))
    return [name for name in known if name in chosen]
