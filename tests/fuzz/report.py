"""``report.json`` of either format, read back for the gate and for a comparison."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fuzz.altering import altered
from fuzz.altering import seeds as seeds_of
from helpers.builders import REPORT_FORMAT_1, a_cell, a_report
from matrix.catalogue import releases
from matrix.errors import MatrixError
from matrix.report import behaviour, diff, document

_PATH = Path(tempfile.mkdtemp(prefix="te-matrix-fuzz-")) / "report.json"
_OTHER = a_report(a_cell("1.7", "2.3"), a_cell("1.8", "2.3", "error"), a_cell("1.8", "1.8"))
_DOCUMENTS = [json.loads(document.text(_OTHER)), json.loads(REPORT_FORMAT_1.read_text())]


def one(data: bytes) -> None:
    """Read one input, and compare it with another report and with itself."""
    _PATH.write_bytes(altered(data, _DOCUMENTS))
    try:
        read = document.read(_PATH)
        order = releases.order([row.name for run in (read, _OTHER) for row in run.releases])
        for before, after in ((read, _OTHER), (_OTHER, read), (read, read)):
            found = diff.compare(before, after, order)
            list(diff.lines(found, order)), list(diff.markdown(found, order)), diff.plain(found)
        for each in behaviour.discover(read, order):
            list(behaviour.lines(each, order))
        document.text(read)
    except MatrixError:
        return


def seeds() -> Iterator[bytes]:
    """Yield a report, and inputs that alter it."""
    yield from seeds_of(_DOCUMENTS)
