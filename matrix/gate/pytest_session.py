"""A pytest session of checks alone, unaffected by the configuration of any project."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from matrix.errors import ExitCode, MatrixError
from matrix.gate import policies
from matrix.gate.policies import Check
from matrix.gate.pytest_items import CheckCollector

_DISABLED_PLUGINS = (
    "terminal",
    "cacheprovider",
    "faulthandler",
    "warnings",
    "unraisableexception",
    "threadexception",
)
_VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")
"""Environment variables that would add options and plugins."""


def run(checks: Sequence[Check], junit: Path | None = None) -> ExitCode:
    """Run every check as a test and return the gate's exit code.

    :param junit: where pytest writes its JUnit XML.
    :raises MatrixError: pytest did not run all checks, or its result differs from theirs.
    """
    code = policies.exit_code(checks)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for name in _VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        configuration = Path(folder, "pytest.ini")
        configuration.write_text("[pytest]\njunit_suite_name = te-matrix\n")
        argv = ["-c", str(configuration), "--rootdir", folder, "--noconftest", "--strict-markers"]
        argv += ["--assert=plain", *(f"-pno:{name}" for name in _DISABLED_PLUGINS)]
        argv += ["--junitxml", str(junit)] if junit else []
        ended = pytest.main(argv, plugins=[CheckCollector(checks)])
    expected = pytest.ExitCode.OK if code == ExitCode.OK else pytest.ExitCode.TESTS_FAILED
    if ended != expected:
        raise MatrixError(
            f"pytest ended with {ended!r} where the checks come to exit code {int(code)}",
            why="pytest could not run them, or they are told apart differently in two places",
            do="Report this with the output above",
        )
    return code
