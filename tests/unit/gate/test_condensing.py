"""Rule: of very many checks fewer test cases are made, and no failure among them is lost."""

from __future__ import annotations

import pytest

from helpers.builders import a_cell
from matrix.catalogue import releases
from matrix.errors import ExitCode
from matrix.gate import condensing, policies
from matrix.gate.policies import Check, CheckState

ORDER = releases.order([])


def a_check(saver: str, state: CheckState, reason: str, variant: str = "plain") -> Check:
    cell = a_cell(saver, "2.9", variant=variant)
    code = ExitCode.DEVIATES if state == CheckState.FAIL else ExitCode.OK
    return Check(cell.id, state, code, reason, cell)


CHECKS = [
    a_check("2.4", CheckState.PASS, "loaded"),
    a_check("2.5", CheckState.PASS, "none"),
    a_check("2.7", CheckState.PASS, "loaded"),
    a_check("2.8", CheckState.PASS, "loaded", "trusted"),
    a_check("2.6", CheckState.FAIL, "one reason"),
    a_check("2.8", CheckState.FAIL, "one reason"),
    a_check("2.9", CheckState.FAIL, "another"),
    a_check("2.10", CheckState.KNOWN, "ledger: entry"),
    Check("ledger/entry", CheckState.PASS, ExitCode.OK, "used"),
    Check("save/autocast/2.9", CheckState.PASS, ExitCode.OK, "none"),
]


def test_few_checks_stay_as_they_are() -> None:
    assert condensing.condensed(CHECKS, ORDER) == CHECKS


def test_what_came_out_alike_for_one_loader_is_one_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condensing, "MAX_CASES", len(CHECKS) - 1)
    found = condensing.condensed(CHECKS, ORDER)
    assert [(one.id, one.state, one.reason) for one in found] == [
        ("autocast/plain/2.4-2.5, 2.7->2.9", CheckState.PASS, "3 cells"),
        ("autocast/trusted/2.8->2.9", CheckState.PASS, "loaded"),
        ("autocast/plain/2.6, 2.8->2.9", CheckState.FAIL, "one reason"),
        ("autocast/plain/2.9->2.9", CheckState.FAIL, "another"),
        ("autocast/plain/2.10->2.9", CheckState.KNOWN, "ledger: entry"),
        ("ledger/entry", CheckState.PASS, "used"),
        ("save/autocast/2.9", CheckState.PASS, "none"),
    ]
    assert policies.exit_code(found) == policies.exit_code(CHECKS) == ExitCode.DEVIATES
