"""The stamp of a report: what its files were made from, so that equal ones are not made again."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from matrix.errors import ExitCode, StoreError, os_errors_as
from matrix.report.cells import ReportModel
from matrix.report.printout import Printout
from matrix.system import digests

NAME = "stamp.json"
"""Name of the stamp's file, beside those of the report."""
FILES = ("report.json", "report.md", "badge.svg", "index.html")
"""Names of the files that are stamped."""


class Stamp(ReportModel):
    """What a report was made from, and what came of it beside its files."""

    inputs: str
    """SHA-256 of everything that the report is a function of."""
    files: dict[str, str]
    """SHA-256 of the report's files, by name."""
    printout: Printout
    """What was printed."""
    exit_code: ExitCode
    """The exit code of the judgement."""


def read(folder: Path) -> Stamp | None:
    """Return the stamp of a report; None unless there is one, and every file is as it was."""
    try:
        stamp = Stamp.model_validate_json((folder / NAME).read_bytes())
        unchanged = all(digests.of_file(folder / name) == stamp.files[name] for name in FILES)
    except (OSError, ValidationError, KeyError):
        return None
    return stamp if unchanged else None


def write(folder: Path, inputs: str, printout: Printout, exit_code: ExitCode) -> Stamp:
    """Stamp the report in a folder, which has just been written.

    :param inputs: see :attr:`Stamp.inputs`; empty for a report that has to be made again.
    :raises StoreError: the stamp cannot be written.
    """
    path = folder / NAME
    with os_errors_as(StoreError, f"{path} cannot be written", do="Name another --report"):
        files = {name: digests.of_file(folder / name) for name in FILES}
        stamp = Stamp(inputs=inputs, files=files, printout=printout, exit_code=exit_code)
        path.write_text(stamp.model_dump_json(), encoding="utf-8")
    return stamp
