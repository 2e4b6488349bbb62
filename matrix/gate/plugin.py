"""The pytest plugin: with ``--te-matrix STORE``, a pytest session has one item per cell."""

from __future__ import annotations

import datetime
import shlex
from typing import TYPE_CHECKING

import pytest

# Pytest imports this module in every session of the environment, so that it imports nothing
# else of this package before the option is used.
if TYPE_CHECKING:
    from matrix.gate.policies import Check


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options. Without ``--te-matrix`` none of them has an effect."""
    group = parser.getgroup("te-matrix", "checkpoint compatibility matrix")
    group.addoption("--te-matrix", metavar="STORE", help="gate this store or report.json")
    group.addoption(
        "--te-matrix-policy",
        help="baseline|documented|ledger|no-regression  [default: baseline for candidates]",
    )
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
    """Judge the store that ``--te-matrix`` names, and add its cells to the session.

    :raises pytest.UsageError: the options cannot be used.
    """
    if not config.getoption("te_matrix"):
        return
    from matrix.errors import MatrixError
    from matrix.gate.pytest_items import CheckCollector

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
    place = config.getoption("te_matrix")
    asked = PolicyRequest(
        policy=config.getoption("te_matrix_policy"),
        baseline=config.getoption("te_matrix_baseline"),
        require_lane=config.getoption("te_matrix_require_lane"),
        require_live=config.getoption("te_matrix_require_live"),
        allow_missing=config.getoption("te_matrix_allow_missing"),
    )
    selection = shlex.split(config.getoption("te_matrix_select"))
    request = asked.request(arguments.parse(selection))
    report = read_report(place, request, today)
    policy = asked.resolve(request, report, today)
    return policies.checks(report, policy, policies.order(report, policy))
