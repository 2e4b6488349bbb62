"""The pytest plugin: ``pytest --te-matrix STORE`` has one item per cell. Inert without it."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

# Everything of ours is imported where it is used: pytest imports this module in every run.
if TYPE_CHECKING:
    from matrix.gate.policies import Check

GROUP = "te-matrix"
_MARKERS = {
    "cell(scenario, variant, saved_by, loaded_by, outcome, verdict)": "one cell of the matrix",
    "conforms": "agrees with the documentation",
    "known_deviation": "deviates, and the ledger knows it",
    "deviates": "deviates, and nobody knows it",
    "undocumented": "the documentation says nothing of it",
    "missing": "has no outcome",
    "frozen": "loads, and is never updated again",
    "save": "where a release saves its metadata",
    "ledger": "one entry of the ledger",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options. None of them does anything without ``--te-matrix``."""
    group = parser.getgroup(GROUP, "checkpoint compatibility matrix")
    group.addoption("--te-matrix", metavar="STORE", help="gate this store or report.json")
    group.addoption("--te-matrix-policy", default="ledger", help="documented|ledger|no-regression")
    group.addoption("--te-matrix-baseline", metavar="RUN", help="store or report.json before it")
    group.addoption("--te-matrix-require-lane", metavar="LANE", help="refuse other lanes")
    group.addoption("--te-matrix-require-live", action="store_true", help="refuse what is recorded")
    group.addoption("--te-matrix-allow-missing", action="store_true", help="skip what is missing")
    group.addoption(
        "--te-matrix-select",
        default="",
        metavar="OPTIONS",
        help="selection options of te-matrix, as in --te-matrix-select='--releases all'"
        " [default: what the store's last run selected]",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Judge the store, where one is named, and add its cells to the session."""
    if not config.getoption("te_matrix"):
        return
    from matrix.errors import MatrixError

    try:
        found = _checks(config)
    except MatrixError as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(CheckCollector(found), "te-matrix-cells")


def _checks(config: pytest.Config) -> list[Check]:
    from matrix.gate import policies
    from matrix.gate.baseline import PolicyRequest
    from matrix.workflow import arguments
    from matrix.workflow.reading import read_report

    today = datetime.date.today()
    selection = arguments.parse(shlex.split(config.getoption("te_matrix_select")))
    request = selection.with_candidate_as("loader")
    report = read_report(config.getoption("te_matrix"), request, today)
    asked = PolicyRequest(
        policy=config.getoption("te_matrix_policy"),
        baseline=config.getoption("te_matrix_baseline"),
        require_lane=config.getoption("te_matrix_require_lane"),
        require_live=config.getoption("te_matrix_require_live"),
        allow_missing=config.getoption("te_matrix_allow_missing"),
    )
    policy = asked.resolve(request, today)
    return policies.checks(report, policy, policies.order(report, policy))


@dataclasses.dataclass(eq=False)  # pytest keeps its plugins in sets
class CheckCollector:
    """A plugin that collects checks as items, instead of files unless files are named."""

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
        """Add the checks, before -k and -m choose among the items."""
        mine = [CheckItem.of(check, session) for check in self.checks]
        items.extend(mine)
        # Told to the terminal, so that it counts them as collected.
        collected = pytest.CollectReport(GROUP, "passed", None, [*mine])
        session.config.hook.pytest_collectreport(report=collected)

    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> pytest.TestReport | None:
        """Report a check under its own name."""
        return CheckReport.from_item_and_call(item, call) if isinstance(item, CheckItem) else None


class CheckItem(pytest.Item):
    """One check as a test."""

    check: Check

    @classmethod
    def of(cls, check: Check, session: pytest.Session) -> CheckItem:
        """Return a check as an item with its markers."""
        item: CheckItem = cls.from_parent(session, name=check.id, nodeid=f"{GROUP}::{check.id}")
        item.check = check
        for mark in _marks(check):
            item.add_marker(mark)
        return item

    def setup(self) -> None:
        """Skip what is missing; fail here, not in the test, where it is our own failure."""
        from matrix.gate.policies import CheckState

        if self.check.state == CheckState.SKIP:
            pytest.skip(self.check.reason)
        if self.check.state == CheckState.BROKEN:
            pytest.fail(f"{self.check.id}: {self.check.reason}", pytrace=False)

    def runtest(self) -> None:
        """Fail where the check does; a known deviation must."""
        from matrix.gate.policies import CheckState

        if self.check.state in (CheckState.KNOWN, CheckState.FAIL):
            pytest.fail(f"{self.check.id}: {self.check.reason}", pytrace=False)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Return where it stands: in no file. pytest would put colons for the id's dots."""
        return self.config.rootpath, None, ""


class CheckReport(pytest.TestReport):
    """What became of a check, headed by its name."""

    @property
    def head_line(self) -> str:
        """The check's name, which pytest takes from a place in a file."""
        return self.nodeid


def _marks(check: Check) -> list[pytest.MarkDecorator]:
    from matrix.catalogue.words import AfterLoad
    from matrix.gate.policies import CheckState

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
