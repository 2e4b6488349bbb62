"""The report of a judgement: ``report.json``, ``report.md``, ``index.html`` and a badge.

document: types of a report, and the reader and writer of ``report.json``
cells: types of its cells
packing: cells as rows of numbers, which ``report.json`` has
builder: the report of a judgement
rendering: the Jinja2 templates
page: ``index.html``, with all evidence embedded
commits: the commits that changed what releases do, for the page
markdown: ``report.md``
traits: what tells scenarios apart, in words
overview: a report in short
printout: what commands print of a judgement; console prints it, and the progress of runs
stamp: what a report was made from, so that an equal one is not made again
causes: cells grouped by verdict, outcome and reason; controls of a release that is lacking
places: groups of cells as lines of text
behaviour: releases grouped by how they save and load
changes_page: the table of changes and their commits, as Markdown
commonality: what changes in all modules, in several, or in one
faq_patch: a patch of the FAQ, after which it agrees with every observed load
diff: comparison of two reports
comparison: how candidates compare with their baselines; comparison_texts says it
qualification: types of that part of ``report.json``; standings makes it, by cause
sheet: ``qualification.json``, ``.html`` and ``.md``: a candidate's qualification as a document
notes: release notes of a candidate on checkpoints
compat: what is known as data for other programs; compat_reader reads it, and needs nothing else
ways: the table of what makes checkpoints load, pair by pair; ways_page is it as Markdown
explain: what is documented and observed for one pair of releases
schema, schemas/: JSON Schemas of everything that other programs may read or write
"""

from __future__ import annotations

from pathlib import Path

from matrix.catalogue import releases
from matrix.catalogue.faq import Documentation
from matrix.catalogue.selection import Selection
from matrix.errors import StoreError, os_errors_as
from matrix.judge.judgement import Judgement
from matrix.report import document, markdown, page, rendering, sheet
from matrix.report.builder import build, cell_of
from matrix.report.document import Report
from matrix.system.collector import gc_paused

__all__ = ["build", "cell_of", "write"]


def write(
    judgement: Judgement,
    documentation: Documentation,
    folder: Path,
    selection: Selection | None = None,
    made: Report | None = None,
) -> Path:
    """Write the report's files and return the path of ``index.html``.

    :param folder: where to write; it is created.
    :param selection: the run's selection, for the commands that repeat a cell.
    :param made: the report of the judgement, where it has been built already.
    :raises StoreError: the folder cannot be written.
    """
    with gc_paused():
        made = made or build(judgement, documentation)
        texts = _texts(judgement, made, selection or Selection())
        if made.qualification is not None:
            texts |= sheet.texts(sheet.of(made, documentation, texts["report.json"]))
    with os_errors_as(
        StoreError,
        f"the report cannot be written to {folder}",
        do="Name a writable folder with --report; the evidence itself is kept",
    ):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    return folder / "index.html"


def _texts(judgement: Judgement, report: Report, selection: Selection) -> dict[str, str]:
    return {
        "report.json": document.text(report),
        "report.md": markdown.text(report, releases.order(judgement.plan.releases)),
        "badge.svg": rendering.badge(report.lane.value, report.exit_code, report.title),
        "index.html": page.render(judgement, report, selection),
    }
