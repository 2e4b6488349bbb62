"""Runs pytest on checks and on nothing else: no configuration but the one given here."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
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
_PYTEST_VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")


def run(checks: Sequence[Check], junit: Path | None = None) -> ExitCode:
    """Run every check as a test and return the gate's exit code.

    :param junit: where pytest writes its JUnit XML.
    :raises MatrixError: pytest did not run all of them, or came to another end than
        the checks themselves.
    """
    code = policies.exit_code(checks)
    with tempfile.TemporaryDirectory() as folder, _isolated():
        configuration = Path(folder, "pytest.ini")
        configuration.write_text("[pytest]\njunit_suite_name = te-matrix\n")
        argv = ["-c", str(configuration), "--rootdir", folder, "--noconftest", "--strict-markers"]
        argv += ["--assert=plain"]
        argv += [word for name in _DISABLED_PLUGINS for word in ("-p", f"no:{name}")]
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


@contextlib.contextmanager
def _isolated() -> Iterator[None]:
    """Hide from pytest what the environment says to other runs of it."""
    kept = {name: os.environ.pop(name) for name in _PYTEST_VARIABLES if name in os.environ}
    autoload = os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        yield
    finally:
        os.environ.update(kept)
        del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        if autoload is not None:
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = autoload
