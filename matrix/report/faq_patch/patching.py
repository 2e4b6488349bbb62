"""The FAQ's file as it is published beside the corrected one, as a patch."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from matrix.catalogue.faq import Documentation, Published
from matrix.catalogue.releases import Release
from matrix.errors import UnobservedError
from matrix.report.document import Report
from matrix.report.faq_patch import corrected, table
from matrix.report.faq_patch.claims import PLAIN, REMAPPED, TRUSTED
from matrix.report.faq_patch.observed import ALL, ATTENTION, QUANTIZED
from matrix.system.counting import counted

SELECTION = {
    "releases": "all",
    "scenario": f"{ALL},{ATTENTION},{QUANTIZED}",
    "variant": f"{PLAIN},{REMAPPED},{TRUSTED}",
}
"""The selection of the reports that a patch is made from."""
_NAMED = 5


def patch(report: Report, documentation: Documentation, known: Mapping[str, Release]) -> str:
    """Return a patch of the FAQ's file, after which it agrees with every cell of a report.

    ``git apply`` and ``patch -p1`` take it.

    :param report: a report on :data:`SELECTION`.
    :param known: its releases by name.
    :raises UnobservedError: cells have no outcome.
    """
    _check(report)
    published = documentation.published
    before = table.as_published(documentation)
    after = corrected.text(report, documentation, known)
    # The lines above stand for themselves: they give the rest its line numbers.
    above = [f"line {number}" for number in range(1, published.line)]
    lines = difflib.unified_diff(
        above + before.splitlines(),
        above + after.splitlines(),
        f"a/{published.file}",
        f"b/{published.file}",
        lineterm="",
    )
    return "".join(f"{line}\n" for line in (*_preamble(report, published), *lines))


def _check(report: Report) -> None:
    """Check that every cell has an outcome.

    :raises UnobservedError: some have none.
    """
    missing = [cell for cell in report.cells if not cell.present]
    if not missing:
        return
    named = [f"{cell.id} ({cell.outcome.value})" for cell in missing[:_NAMED]]
    others = [f"{len(missing) - _NAMED} more"] if len(missing) > _NAMED else []
    options = " ".join(f"--{name} {value}" for name, value in SELECTION.items())
    raise UnobservedError(
        f"the FAQ cannot be corrected by loads that were not observed: {len(missing)} of"
        f" {counted(len(report.cells), 'cell')} without outcome: {', '.join([*named, *others])}",
        do=f"Measure them with `te-matrix run {options}`",
    )


def _preamble(report: Report, published: Published) -> Iterator[str]:
    """Yield what the patch rests on; programs that apply it pass over these lines."""
    yield f"{published.file}: FP8 checkpoint compatibility, as observed"
    yield ""
    yield (
        f"Rests on {counted(len(report.cells), 'load')} between"
        f" {counted(len(report.releases), 'release')}, lane"
        f" {report.lane.value}, PyTorch {', '.join(report.torch)}."
    )
    yield ""
