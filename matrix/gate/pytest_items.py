"""Pytest items, one for each check, with markers to select them by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from matrix.catalogue.words import AfterLoad
from matrix.gate.policies import Check, CheckState

PREFIX = "te-matrix"
"""The prefix of the items' node ids."""

_MARKERS = {
    "cell(scenario, variant, saved_by, loaded_by, outcome, verdict)": "one cell of the matrix",
    "conforms": "agrees with the documentation",
    "known_deviation": "deviates, and the ledger has an entry for it",
    "deviates": "deviates, and the ledger has no entry for it",
    "undocumented": "the documentation does not mention it",
    "missing": "has no outcome",
    "frozen": "loads, and training no longer updates the metadata",
    "save": "the save of a release, and the key of its metadata",
    "control": "a candidate's own save, sound or damaged on purpose",
    "ledger": "one entry of the ledger",
    "release": "a release that could not take part, and its cells therefore not",
}


@dataclasses.dataclass(eq=False)  # pytest keeps its plugins in sets
class CheckCollector:
    """A pytest plugin that adds an item for each check; files are collected only where named."""

    checks: Sequence[Check]

    def pytest_configure(self, config: pytest.Config) -> None:
        """Register the items' markers."""
        for name, meaning in _MARKERS.items():
            config.addinivalue_line("markers", f"{name}: {meaning} (te-matrix)")

    def pytest_collection(self, session: pytest.Session) -> bool | None:
        """Collect nothing from files, unless some were named on the command line."""
        config = session.config
        if config.args_source is pytest.Config.ArgsSource.ARGS:
            return None
        session.items = []
        config.hook.pytest_collection_modifyitems(
            session=session, config=config, items=session.items
        )
        config.hook.pytest_collection_finish(session=session)
        session.testscollected = len(session.items)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> None:
        """Add the checks before ``-k`` and ``-m`` are applied."""
        mine = [CheckItem.of(check, session) for check in self.checks]
        items.extend(mine)
        # Without a report the terminal would not count the items as collected.
        collected = pytest.CollectReport(PREFIX, "passed", None, [*mine])
        session.config.hook.pytest_collectreport(report=collected)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Have a check fail by itself where the one that fails in its place is not selected."""
        items = [item for item in session.items if isinstance(item, CheckItem)]
        selected = {item.check.id for item in items}
        for item in items:
            if item.check.answered_by not in ("", *selected):
                item.check = dataclasses.replace(item.check, state=CheckState.BROKEN)

    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> pytest.TestReport | None:
        """Return a report that is headed by the name of the check."""
        return CheckReport.from_item_and_call(item, call) if isinstance(item, CheckItem) else None


class CheckItem(pytest.Item):
    """A check as a pytest item."""

    check: Check

    @classmethod
    def of(cls, check: Check, session: pytest.Session) -> CheckItem:
        """Return an item for a check, with the markers of its cell and its state."""
        item: CheckItem = cls.from_parent(session, name=check.id, nodeid=f"{PREFIX}::{check.id}")
        item.check = check
        for mark in _marks(check):
            item.add_marker(mark)
        return item

    def setup(self) -> None:
        """Skip the item, or fail here, which pytest counts as an error and not as a failure."""
        if self.check.state == CheckState.SKIP:
            pytest.skip(self.check.reason)
        if self.check.state == CheckState.BROKEN:
            pytest.fail(f"{self.check.id}: {self.check.reason}", pytrace=False)

    def runtest(self) -> None:
        """Fail for a failed check, and for a known deviation, which is expected to fail."""
        if self.check.state in (CheckState.KNOWN, CheckState.FAIL):
            pytest.fail(f"{self.check.id}: {self.check.reason}", pytrace=False)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Return no line and no title, as the item is in no file."""
        return self.config.rootpath, None, ""


class CheckReport(pytest.TestReport):
    """The report of a check."""

    @property
    def head_line(self) -> str:
        """The check's id, where pytest would show a place in a file."""
        return self.nodeid


def _marks(check: Check) -> list[pytest.MarkDecorator]:
    marks = []
    if check.state in (CheckState.KNOWN, CheckState.FIXED):
        marks.append(
            pytest.mark.xfail(strict=True, raises=pytest.fail.Exception, reason=check.reason)
        )
    cell = check.cell
    if cell is None:
        kind = check.id.partition("/")[0]
        return [*marks, getattr(pytest.mark, kind)] if kind in _MARKERS else marks
    marks.append(
        pytest.mark.cell(
            scenario=cell.scenario,
            variant=cell.variant,
            saved_by=cell.saved_by,
            loaded_by=cell.loaded_by,
            outcome=cell.outcome,
            verdict=cell.verdict,
        )
    )
    verdict = cell.verdict.value.replace("-", "_") if cell.present else "missing"
    frozen = [pytest.mark.frozen] if cell.after_load == AfterLoad.FROZEN else []
    return [*marks, getattr(pytest.mark, verdict), *frozen]
