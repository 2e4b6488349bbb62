"""`nox -s bench`: what a report costs, with the cells of today and with many more.

Prints, for the full matrix from the recorded evidence and for synthetic stores of 10,000
cells and of 120 releases in two scenarios, the seconds to read, judge and write, the sizes
of report.json and of the page and, where playwright and Chromium are installed, the
milliseconds from opening the page to its grid being drawn, and from choosing another scenario
to the picture being drawn, the grid in view. Cells of which nothing is recorded count as well.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from helpers import synthetic
from helpers.builders import TODAY
from matrix import report
from matrix.catalogue import faq, releases, scenarios
from matrix.judge import judge, ledger
from matrix.plan import cells
from matrix.plan.cells import plan_cells
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded
from matrix.store.store import Store

SWITCH = """async () => {
  document.getElementById("h-grid").scrollIntoView();
  const select = document.getElementById("scenario"), found = [];
  const names = [...select.options].map((option) => option.value);
  for (let turn = 0; turn < 21; turn++) {
    const began = performance.now();
    select.value = names[(names.indexOf(select.value) + 1) % names.length];
    select.dispatchEvent(new Event("change"));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
    found.push(performance.now() - began);
  }
  return found.slice(1);
}"""


def everything() -> cells.Plan:
    """Plan the full matrix."""
    rows = releases.load().releases
    return plan_cells(faq.load(), scenarios.load(), scenarios.variants(), rows, rows)


def timed(store: Store | None, made: cells.Plan, folder: Path) -> tuple[float, Path]:
    """Read the evidence anew, judge it and write the report."""
    recorded.evidence.cache_clear()
    began = time.perf_counter()
    index = EvidenceIndex(made, store, None if store else recorded.evidence(made.lane))
    judged = judge.judge(index, faq.load(), ledger.load(), TODAY)
    page = report.write(judged, faq.load(), folder)
    return time.perf_counter() - began, page


def drawn(page: Path, switching: bool) -> tuple[str, str]:
    """Return how long the page takes to open, and its switches: median and worst of twenty.

    :param switching: whether there is another scenario to switch to.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return "-", "-"
    chromium = os.environ.get("TE_MATRIX_CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        began = time.perf_counter()
        opened.goto(page.as_uri())
        opened.wait_for_selector("html[data-ready]", state="attached")
        opening = f"{(time.perf_counter() - began) * 1000:.0f}"
        found = opened.evaluate(SWITCH) if switching else []
        browser.close()
    return opening, f"{statistics.median(found):.0f} / {max(found):.0f}" if found else "-"


def main() -> None:
    table = Table(title="reports, from evidence to the page")
    for heading in (
        *("what", "cells", "seconds", "ratio", "report.json, MB", "page, MB"),
        *("opens, ms", "switch, ms (median / worst)"),
    ):
        table.add_column(heading)
    first = 0.0
    for what, made, known in (
        ("full matrix, recorded", everything(), True),
        ("100 releases, 1 scenario", synthetic.a_plan(100), False),
        ("71 releases, 2 scenarios", synthetic.a_plan(71, ("autocast", "attention-only")), False),
        ("120 releases, 2 scenarios", synthetic.a_plan(120, ("autocast", "attention-only")), False),
    ):
        with tempfile.TemporaryDirectory() as folder:
            store = None
            if not known:
                store = Store(Path(folder) / "store")
                synthetic.fill(store, made)
            seconds, page = timed(store, made, Path(folder))
            first = first or seconds
            files = (page.with_name("report.json"), page)
            sizes = [f"{file.stat().st_size / 1e6:.2f}" for file in files]
            moving = drawn(page, len(made.scenarios) > 1)
        ratio = f"{seconds / first:.2f}"
        table.add_row(what, str(len(made.cells)), f"{seconds:.2f}", ratio, *sizes, *moving)
    Console().print(table)


if __name__ == "__main__":
    main()
