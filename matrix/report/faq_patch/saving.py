"""Where releases save FP8 metadata, in the FAQ's words."""

from __future__ import annotations

from collections.abc import Mapping

from matrix.catalogue.faq import Band, Documentation
from matrix.catalogue.releases import Release
from matrix.catalogue.words import SaveOutcome
from matrix.report.document import Report, SaveRow

_NOWHERE = "none"
_SPOILT = ", but not as the module holds it"


def documented(band: Band) -> str:
    """Return where the releases of a band save FP8 metadata, as the FAQ prints it."""
    if band.saves_to is None:
        return band.sentence
    return band.sentence.replace(band.saves_to, f"`{band.saves_to}`")


def sentences(
    report: Report, documentation: Documentation, known: Mapping[str, Release]
) -> dict[str, str]:
    """Return where releases were seen to save FP8 metadata, by release.

    What is not the same in all scenarios is joined by "or".

    :param known: the releases of the report by name.
    """
    found: dict[str, dict[str, None]] = {}
    for row in report.saves:
        words = _observed(row, documentation.band(known[row.release]))
        found.setdefault(row.release, {})[words] = None
    return {release: ", or ".join(words) for release, words in found.items()}


def _observed(row: SaveRow, band: Band) -> str:
    if row.outcome == SaveOutcome.ERROR:
        return "Error when saving"
    words = documented(band)
    if not row.conforms:
        words = f"Saves FP8 metadata to `{row.observed}`"
        if row.observed == _NOWHERE:
            words = "Saves no FP8 metadata"
    return words + (_SPOILT if row.outcome == SaveOutcome.SPOILT else "")
