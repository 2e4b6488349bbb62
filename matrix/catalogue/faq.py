"""Bands and rules of Transformer Engine's FAQ: the documented outcome of each cell."""

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
    """Consecutive releases that the FAQ documents together."""

    name: str
    """Name of the band, e.g. ``1.6-1.7``."""
    printed: str
    """The band as the FAQ prints it, e.g. ``1.6, 1.7``."""
    first: str
    """The oldest version of the band. Only its major and minor number count."""
    last: str | None = None
    """The newest version of the band; absent for the band that has no end."""
    saves_to: str | None = None
    """Key under which the band saves attention metadata; absent where it saves none."""
    sentence: str
    """The sentence of the FAQ that the row is taken from."""

    @field_validator("first", "last")
    @classmethod
    def _version(cls, text: str) -> str:
        Version(text)
        return text

    def holds(self, minor: tuple[int, int]) -> bool:
        """Return whether releases with this (major, minor) belong to the band."""
        after_first = minor >= _minor(self.first)
        return after_first and (self.last is None or minor <= _minor(self.last))


class Rule(tables.Row):
    """The documented outcome for pairs of bands."""

    loaded_by: tuple[str, ...]
    """Names of the loading releases' bands."""
    saved_by: tuple[str, ...]
    """Names of the saving releases' bands."""
    printed: str
    """These bands as the FAQ prints them together, e.g. ``>= 1.8``."""
    variants: tuple[str, ...]
    """Names of the variants that the rule applies to."""
    outcome: Outcome
    """What the FAQ says becomes of the attention's FP8 metadata."""
    reason: str = ""
    """Why, in the FAQ's words, a load fails; empty where it gives no reason."""
    sentence: str
    """The sentence of the FAQ that the rule is taken from."""


class Published(tables.Row):
    """Where and how the documentation prints the bands and rules."""

    file: str
    """The file in the repository of the documented project."""
    line: int
    """Number of the first line of ``context`` in that file."""
    context: tuple[str, ...]
    """The lines before the list, as far as a patch shows them."""
    list: str
    """The sentence that introduces the list, up to the versions that it is about."""
    versions: str
    """The end of that sentence, without the full stop."""
    loading: str
    """What introduces the rules of a loader."""
    mapping: str
    """What introduces the code that maps the key of one band to that of another."""
    code: tuple[str, ...]
    """That code."""
    sha256: str
    """SHA-256 of the file from ``line`` to its end."""


class Faq(tables.Row):
    """Contents of ``faq.toml``."""

    source: str
    """The section of the documentation that the table is taken from."""
    read_in: str
    """The versions of the documentation that were read."""
    band: tuple[Band, ...]
    """The bands, oldest first."""
    rule: tuple[Rule, ...]
    """The rules. No two of them apply to the same pair of bands and variant."""
    published: Published
    """How the documentation prints them."""


@dataclasses.dataclass(frozen=True)
class Documented:
    """The documented outcome of one cell."""

    outcome: Outcome | Undocumented
    """The outcome, or ``undocumented`` where the FAQ has no rule."""
    reason: str = ""
    """See :attr:`Rule.reason`."""
    sentence: str = ""
    """See :attr:`Rule.sentence`."""


UNDOCUMENTED = Documented(Undocumented.UNDOCUMENTED)
"""Stands for cells that the FAQ has no rule for."""


@dataclasses.dataclass(frozen=True)
class Documentation:
    """The FAQ's bands and rules, which give the documented outcome of any pair of releases."""

    bands: tuple[Band, ...]
    rules: tuple[Rule, ...]
    published: Published

    def band(self, release: Release) -> Band:
        """Return the band that a release belongs to.

        :raises TableError: it belongs to none.
        """
        for band in self.bands:
            if band.holds(release.minor):
                return band
        raise TableError(f"faq.toml has no band for release {release.name}")

    def documented(self, variant: str, saved_by: Release, loaded_by: Release) -> Documented:
        """Return the documented outcome of one cell."""
        saver, loader = self.band(saved_by).name, self.band(loaded_by).name
        for rule in self.rules:
            if variant in rule.variants and saver in rule.saved_by and loader in rule.loaded_by:
                return Documented(rule.outcome, rule.reason, rule.sentence)
        return UNDOCUMENTED


def load(path: Path | None = None) -> Documentation:
    """Read the FAQ's table.

    :param path: the file to read; by default the packaged one.
    :raises TableError: the table is malformed, its bands overlap, or a rule names an unknown
        band or repeats a combination of another rule.
    """
    path = path or tables.packaged("faq.toml")
    faq = tables.load(path, Faq)
    _check_bands(path, faq.band)
    known = {band.name for band in faq.band}
    listed: set[tuple[str, str, str]] = set()
    for rule in faq.rule:
        if unknown := {*rule.saved_by, *rule.loaded_by} - known:
            raise TableError(f"{path}: a rule names band {unknown.pop()}, which it does not define")
        combinations = {
            (v, s, b) for v in rule.variants for s in rule.saved_by for b in rule.loaded_by
        }
        if twice := listed & combinations:
            raise TableError(f"{path}: two rules apply to {' / '.join(min(twice))}")
        listed |= combinations
    return Documentation(faq.band, faq.rule, faq.published)


def _check_bands(path: Path, bands: tuple[Band, ...]) -> None:
    """Check that the bands are in order and do not overlap.

    :raises TableError: they are not.
    """
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
