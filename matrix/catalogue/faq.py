"""What the FAQ says of a cell. Documentation only: nothing here has been observed."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from pathlib import Path

from packaging.version import Version
from pydantic import field_validator

from matrix.catalogue import tables
from matrix.catalogue.releases import Release
from matrix.catalogue.words import Outcome, Undocumented
from matrix.errors import TableError


class Band(tables.Row):
    """A run of releases that the FAQ documents together, by (major, minor)."""

    name: str
    first: str
    last: str | None = None
    saves_to: str | None = None
    sentence: str

    @field_validator("first", "last")
    @classmethod
    def _version(cls, text: str) -> str:
        Version(text)
        return text

    def holds(self, minor: tuple[int, int]) -> bool:
        """Tell whether (major, minor) falls into the band."""
        after_first = minor >= _minor(self.first)
        return after_first and (self.last is None or minor <= _minor(self.last))


class Rule(tables.Row):
    """One entry of the FAQ's table, with the sentence it comes from."""

    loaded_by: tuple[str, ...]
    saved_by: tuple[str, ...]
    variants: tuple[str, ...]
    outcome: Outcome
    reason: str = ""
    sentence: str


class Faq(tables.Row):
    """The whole of ``faq.toml``."""

    source: str
    read_in: str
    band: tuple[Band, ...]
    rule: tuple[Rule, ...]


@dataclasses.dataclass(frozen=True)
class Documented:
    """What the FAQ says of one cell: an outcome, or ``undocumented``."""

    outcome: Outcome | Undocumented
    reason: str = ""
    sentence: str = ""


UNDOCUMENTED = Documented(Undocumented.UNDOCUMENTED)


@dataclasses.dataclass(frozen=True)
class Documentation:
    """The FAQ's bands and rules, expanded on demand to any pair of releases."""

    bands: tuple[Band, ...]
    rules: tuple[Rule, ...]

    def band(self, release: Release) -> Band:
        """Return the band a release belongs to.

        :raises TableError: no band holds it.
        """
        for band in self.bands:
            if band.holds(release.minor):
                return band
        raise TableError(f"faq.toml has no band for release {release.name}")

    def says(self, variant: str, saved_by: Release, loaded_by: Release) -> Documented:
        """Return what the FAQ says of one cell."""
        saver, loader = self.band(saved_by).name, self.band(loaded_by).name
        for rule in self.rules:
            if variant in rule.variants and saver in rule.saved_by and loader in rule.loaded_by:
                return Documented(rule.outcome, rule.reason, rule.sentence)
        return UNDOCUMENTED


def load(path: Path | None = None) -> Documentation:
    """Read the FAQ's table.

    :raises TableError: it is malformed, its bands share a release, or it names an
        unknown band or says two things of one combination.
    """
    path = path or tables.packaged("faq.toml")
    faq = tables.load(path, Faq)
    _check_bands(path, faq.band)
    known = {band.name for band in faq.band}
    said: set[tuple[str, str, str]] = set()
    for rule in faq.rule:
        if unknown := {*rule.saved_by, *rule.loaded_by} - known:
            raise TableError(f"{path}: a rule names band {unknown.pop()}, which it does not define")
        combinations = {
            (v, s, b) for v in rule.variants for s in rule.saved_by for b in rule.loaded_by
        }
        if twice := said & combinations:
            raise TableError(f"{path}: two rules speak of {' / '.join(min(twice))}")
        said |= combinations
    return Documentation(faq.band, faq.rule)


def _check_bands(path: Path, bands: tuple[Band, ...]) -> None:
    """See that every band begins behind the end of the one before."""
    for earlier, later in itertools.pairwise(bands):
        if earlier.last is None or _minor(later.first) <= _minor(earlier.last):
            raise TableError(f"{path}: band {later.name} begins within band {earlier.name}")
    for band in bands:
        if not band.holds(_minor(band.last or band.first)):
            raise TableError(f"{path}: band {band.name} runs backwards")


@functools.cache
def _minor(text: str) -> tuple[int, int]:
    version = Version(text)
    return version.major, version.minor
