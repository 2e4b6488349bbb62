"""Sessions of the checkpoint compatibility matrix; `nox -l` lists them.

PyTorch is installed first, by TE_MATRIX_TORCH (default torch==2.13.0), from the index
in TE_MATRIX_TORCH_INDEX where that is set: name an index of CPU builds there to avoid
downloading CUDA.
"""

import os

import nox

nox.needs_version = ">=2024.3.2"
nox.options.sessions = ["tests", "lint", "typecheck"]

TORCH = os.environ.get("TE_MATRIX_TORCH", "torch==2.13.0")
TORCH_INDEX = os.environ.get("TE_MATRIX_TORCH_INDEX")


def install(session: nox.Session, *extras: str) -> None:
    """Install torch, then the package with its extras."""
    index = ["--index-url", TORCH_INDEX] if TORCH_INDEX else []
    session.install(*index, TORCH)
    session.install("-e", f".[{','.join(extras)}]")


@nox.session
def matrix(session: nox.Session) -> None:
    """Save with every release, load in every release, judge; options go to `te-matrix run`."""
    install(session, "cpu")
    session.run("te-matrix", "run", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests: no GPU, no container engine, no git host; options go to pytest."""
    install(session, "cpu", "test")
    session.run("pytest", *session.posargs)


@nox.session
def gate(session: nox.Session) -> None:
    """Judge what the last run stored, as an exit code; options go to `te-matrix gate`."""
    session.install("-e", ".")
    session.run("te-matrix", "gate", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Write the report from what the last run stored; options go to `te-matrix report`."""
    session.install("-e", ".")
    session.run("te-matrix", "report", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Time the whole autocast matrix, a second run, and one process per pair, and compare.

    Then a 20 GB checkpoint: te-matrix inspect beside torch.load.
    """
    install(session, "cpu")
    session.run("python", "tests/bench.py", *session.posargs)
    session.run("python", "tests/bench_inspect.py", env={"PYTHONPATH": "tests"})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz what reads checkpoints for a minute; options go to libFuzzer."""
    install(session, "test", "fuzz")
    options = session.posargs or ["-max_total_time=60"]
    session.run("python", "tests/fuzz.py", *options, env={"PYTHONPATH": "tests"})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style with ruff."""
    session.install("ruff==0.14.0")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check types with mypy, strictly."""
    session.install("-e", ".[test]", "mypy", "nox")
    session.run("mypy")
