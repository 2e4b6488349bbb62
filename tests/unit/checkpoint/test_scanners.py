"""Rule: what picklescan calls dangerous is named here too, but for what the tables below say.

fickling calls every pickle unsafe that imports something which is not of the standard library,
so every file of PyTorch; only what it calls overtly malicious is compared.
"""

from __future__ import annotations

import io
import logging
import zipfile
from pathlib import Path

import pytest
from fickling.analysis import Severity, check_safety
from fickling.fickle import Pickled
from picklescan.scanner import SafetyLevel, _unsafe_globals, scan_file_path

from helpers import hostile
from helpers.builders import recorded_bytes
from helpers.formats import FORMATS, layered, recorded_state
from matrix.catalogue import pickled_names
from matrix.checkpoint import pickles, torchfile
from matrix.checkpoint.limits import Budget

RELEASES = ["1.0", "1.2", "1.5", "1.7", "1.11", "1.14", "2.0", "2.2.1", "2.17.1"]
HONEST = {
    "__builtin__.getattr": "Float8Tensor._make_in_reduce_ex, which quantized weights of 1.2 to "
    "2.15 are rebuilt by; known with this class and this attribute only",
}
"""What a scanner calls dangerous in honest files, and why it is not."""
SPELLED_OUT = {"builtins.getattr", "__builtin__.getattr"}
"""What picklescan calls dangerous whatever its arguments are, and the table has with some."""


@pytest.fixture(autouse=True)
def silence() -> None:
    logging.getLogger("picklescan").setLevel(logging.CRITICAL)


def named(data: bytes) -> set[str]:
    budget = Budget()
    torchfile.of_bytes(data, budget)
    return {name.removesuffix("()") for name in budget.lookups.unknown}


def dangerous(path: Path) -> set[str]:
    """Return what picklescan calls dangerous in a file."""
    found = scan_file_path(str(path)).globals
    return {f"{g.module}.{g.name}" for g in found if g.safety == SafetyLevel.Dangerous}


def all_dangerous() -> list[tuple[str, str]]:
    """Return every name that picklescan calls dangerous, and one of each module that is whole."""
    return [
        (module, name)
        for module, names in _unsafe_globals.items()
        for name in sorted(
            {"anything"} if names == "*" else {names} if isinstance(names, str) else names
        )
    ]


@pytest.mark.parametrize(("module", "name"), all_dangerous())
def test_every_name_that_is_dangerous_to_picklescan_is_named(module: str, name: str) -> None:
    for pickled in (
        hostile.name(module, name) + b"0}.",
        hostile.reduce(hostile.name(module, name), hostile.text("x")) + b".",
        b"\x80\x04" + hostile.text(module) + hostile.text(name) + b"\x93.",
    ):
        budget = Budget()
        pickles.read(pickled, budget)
        assert {n.removesuffix("()") for n in budget.lookups.unknown} == {f"{module}.{name}"}


def test_the_table_has_nothing_that_is_dangerous_to_picklescan() -> None:
    known = pickled_names.load()
    whole = {module for module, names in _unsafe_globals.items() if names == "*"}
    names = {*known.te, *known.call, *known.refer, *known.enums, *known.guarded}
    inside = {name for name in names for module in whole if name.startswith(f"{module}.")}
    assert inside == set()
    assert names & {f"{module}.{name}" for module, name in all_dangerous()} == SPELLED_OUT


@pytest.mark.parametrize("kind", [kind for kind, _data in hostile.every("x")])
def test_hostile_files_are_dangerous_to_both(kind: str, tmp_path: Path) -> None:
    """picklescan misses those that lie in a file inside; what it finds is found here."""
    data = dict(hostile.every(str(tmp_path / "ran")))[kind]
    (tmp_path / "x.pt").write_bytes(data)
    assert named(data)
    assert dangerous(tmp_path / "x.pt") - HONEST.keys() <= named(data)


@pytest.mark.parametrize("scenario", ["autocast", "fp8-weights"])
@pytest.mark.parametrize("release", RELEASES)
def test_saves_of_transformer_engine(release: str, scenario: str, tmp_path: Path) -> None:
    data = recorded_bytes(release, scenario)
    (tmp_path / "x.pt").write_bytes(data)
    assert named(data) == set()
    assert dangerous(tmp_path / "x.pt") <= HONEST.keys()
    assert overtly_malicious(data) <= HONEST.keys()


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "torch_dist"])
def test_the_same_in_the_files_of_frameworks(name: str, tmp_path: Path) -> None:
    path = FORMATS[name](layered(recorded_state("2.17.1"), 1), tmp_path)
    files = [path] if path.is_file() else list(path.rglob("*.pt"))
    assert [dangerous(file) for file in files] == [set()] * len(files)


def overtly_malicious(data: bytes) -> set[str]:
    """Return the names that fickling calls overtly malicious."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        results = check_safety(Pickled.load(io.BytesIO(archive.read(name)))).results
    worst = [r for r in results if r.severity == Severity.LIKELY_OVERTLY_MALICIOUS]
    words = [str(result.trigger).split() for result in worst]
    return {f"{module}.{name}" for _from, module, _import, name in words}
