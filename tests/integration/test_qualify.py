"""Rule: an untouched copy of a release qualifies, and one that lost a line does not."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from helpers.builders import TODAY
from matrix.cli import main
from matrix.errors import ExitCode
from matrix.report import document

BrokenRelease = Callable[[str, str, str], Path]
BASE = "pytorch/module/base.py"
FEW = ["--releases", "1.11", "--scenario", "autocast", "--today", TODAY.isoformat()]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def qualify(path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["qualify", str(path), *FEW, *words])


def test_a_copy_that_differs_in_a_comment_qualifies(
    broken_release: BrokenRelease, elsewhere: Path
) -> None:
    path = broken_release("pytorch/__init__.py", r"\Z", "\n# Touched.\n")
    result = qualify(path, "--notes", "rst")
    assert result.exit_code == ExitCode.OK, result.output
    assert "against 2.17.1: qualified (lane cpu, no kernels were run" in result.output
    assert ", 0 recorded)" in result.output
    report = document.read(elsewhere / "te-matrix-report" / "report.json")
    (match,) = {match.name for match in report.qualification.matches}
    assert {match} <= {name for cell in report.cells for name in (cell.saved_by, cell.loaded_by)}
    assert all(match in (cell.saved_by, cell.loaded_by) for cell in report.cells)
    signed = json.loads((elsewhere / "te-matrix-report" / "qualification.json").read_text())
    assert signed["candidate"]["name"] == match
    assert signed["answer"] == "qualified"
    notes = (elsewhere / "te-matrix-report" / "notes.rst").read_text()
    assert "A patch of the FAQ\n---" in notes
    assert "loads that were not observed" in notes
    gate = CliRunner().invoke(main, ["gate", "--today", TODAY.isoformat()])
    assert gate.exit_code == ExitCode.OK, gate.output
    assert "gate: policy baseline, exit code 0" in gate.output


@pytest.mark.parametrize(
    ("pattern", "replacement", "cause"),
    [
        (
            r'copy_tensor\(state\["amax_history_fwd"\].*\n',
            "pass\n",
            "forward.amax_history is not the checkpoint's",
        ),
        (
            r'(copy_tensor\(state\["scale_)bwd("\], self.fp8_meta\["scaling_)bwd("\].scale\))',
            r"self.fp8_meta['scaling_bwd'].scale.fill_(3.0)",
            "backward.scale is not the checkpoint's",
        ),
        (
            r"fp8_checkpoint = self.fp8_meta.*\n",
            "fp8_checkpoint = False\n",
            "saved -> spoilt",
        ),
    ],
)
def test_a_copy_that_lost_a_line_does_not(
    broken_release: BrokenRelease, pattern: str, replacement: str, cause: str
) -> None:
    result = qualify(broken_release(BASE, pattern, replacement))
    assert result.exit_code == ExitCode.DEVIATES, result.output
    assert cause in result.output
    assert re.search(r"controls? \(own\): loaded -> ", result.output)
    assert "against 2.17.1: not qualified" in result.output


def test_as_a_library(broken_release: BrokenRelease, elsewhere: Path) -> None:
    """Runs the code that ``docs/reference/python.md`` shows."""
    root = broken_release(BASE, r'copy_tensor\(state\["scale_fwd"\].*\n', "pass\n")
    page = (Path(__file__).parents[2] / "docs" / "reference" / "python.md").read_text()
    shown = re.search(r"\n((?:    .*\n|\n)+?)\n`result.exit_code`", page)
    assert shown
    ran: dict[str, Any] = {}
    exec(textwrap.dedent(shown[1]).replace("CANDIDATE", str(root)), ran)
    assert ran["result"].exit_code == ExitCode.DEVIATES
    name = ran["selected"].candidates[0].name
    assert f"autocast/trusted/1.11->{name}" in ran["worse"]
    assert f"control/autocast/{name}/own" in ran["worse"]


def test_a_baseline_that_is_not_there_is_found_out_before_anything_is_measured(
    broken_release: BrokenRelease, elsewhere: Path
) -> None:
    root = broken_release("pytorch/__init__.py", r"\Z", "\n# Touched.\n")
    result = qualify(root, "--against", "nosuch")
    assert result.exit_code == ExitCode.USAGE
    assert not (elsewhere / "te-matrix-store").exists()
