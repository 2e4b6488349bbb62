"""Rule: the stand-in is what the compiled extensions were seen to be, and those trap."""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from matrix.catalogue import releases
from matrix.lane.binding import build, compare, record, sources
from matrix.lane.binding.observation import Observed, Observer
from matrix.lane.binding.toolchain import Toolchain

RECORDED = {one.release: one for one in record.read()}


@pytest.fixture(scope="module")
def observer() -> Iterator[Observer]:
    with Observer() as opened:
        yield opened


def test_every_release_is_recorded() -> None:
    assert list(RECORDED) == [release.name for release in releases.load().releases]


@pytest.mark.parametrize("name", RECORDED)
def test_the_stand_in_does_as_the_compiled_extension_did(name: str, observer: Observer) -> None:
    release, one = releases.load()[name], RECORDED[name]
    extension = sources.extension_name(release)
    standin = observer.observe(extension, release.version, None, one.compiled.pickles)
    expected = one.compiled.model_copy(update={"reads": identical(one)})
    found = compare.compare(name, expected, standin, one.asked)
    assert found.differences == ()


def identical(one: Observed) -> dict[str, dict[str, str]]:
    """Return what pickles of the compiled extension are read as if nothing is misread."""
    pickles = one.compiled.pickles
    return {protocol: {name: name for name in members} for protocol, members in pickles.items()}


def test_the_stand_in_s_table_is_derived_from_what_is_recorded(tmp_path: Path) -> None:
    record.write_exports(list(RECORDED.values()), tmp_path / "exports.json")
    assert (tmp_path / "exports.json").read_text() == record.EXPORTS.read_text()


CODE = """
struct Base { virtual ~Base(); };
struct Derived : Base {};
const std::type_info &kind() { return typeid(Derived); }
int kernel();
extern "C" int asked() { return 7; }
extern "C" int called() { return kernel(); }
extern "C" const char *named() { return kind().name(); }
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_what_an_extension_lacks_traps_when_it_is_called_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "code.cpp").write_text("#include <typeinfo>\n" + CODE)
    compiled = tmp_path / "code.o"
    command = ["g++", "-fPIC", "-c", str(tmp_path / "code.cpp"), "-o", str(compiled)]
    subprocess.run(command, check=True)
    tools = Toolchain(torch="", cuda=None, python="", cxx11_abi=True, headers=(), libraries=())
    library = build.link([compiled], tools, tmp_path)
    loaded = ctypes.CDLL(str(library))
    loaded.named.restype = ctypes.c_char_p
    assert (loaded.asked(), loaded.named()) == (7, b"7Derived")
    program = f"import ctypes; ctypes.CDLL({str(library)!r}).called()"
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGILL
