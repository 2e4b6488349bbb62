"""The possible causes of an error as text, for ``te-matrix explain --error``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from matrix.catalogue import ranges
from matrix.catalogue.releases import Release
from matrix.doctor.symptoms import PossibleCause


def page(causes: Iterable[PossibleCause], releases: Sequence[Release]) -> Iterator[str]:
    """Yield the lines of text.

    :param releases: all of the catalogue, oldest first.
    """
    order = [release.name for release in releases]
    for number, each in enumerate(causes, start=1):
        yield f"{number}. {each.error}  [fit {each.fit:.0%}]"
        if each.pairs:
            yield f"   Seen in {', '.join(each.pairs.scenarios)}:"
            for savers, loaders in each.pairs.by_savers:
                saved_by, loaded_by = ranges.text(savers, order), ranges.text(loaders, order)
                yield f"     saved by {saved_by}, loaded by {loaded_by}"
        elif each.releases:
            yield f"   Concerns: {each.releases}"
        yield f"   Why: {each.cause}"
        if each.advice:
            yield f"   What to do: {each.advice}"
        if each.pairs and each.pairs.mended:
            yield (
                f"   te-matrix remap IN OUT --to RELEASE makes {each.pairs.mended} of these "
                f"{each.pairs.count} combinations load"
            )
        if each.reference:
            yield f"   Reference: {each.reference}"
        yield ""
