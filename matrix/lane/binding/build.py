"""Compiles the extension of a release without the code that it binds, and keeps the result.

What the other files of the source define stays undefined. Each such function becomes one that
traps, so that calling it ends the process with SIGILL; the type information of C++ classes, which
is read while the extension is imported, becomes that of a class without bases.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from matrix.catalogue.releases import Release
from matrix.errors import SourceError
from matrix.lane.binding import sources
from matrix.lane.binding.toolchain import COMPILER, Toolchain
from matrix.lane.sources import cache_folder
from matrix.system import cleanup

BUILDER = 1
"""Version of what is built; raised when the same source gives another extension."""

MEMORY = 3.5e9
"""Memory in bytes that compiling one extension takes."""

# CUDA 13 has the header at another place than releases up to 2.0 ask for.
_COMPATIBILITY = {"nvToolsExt.h": "#include <nvtx3/nvToolsExt.h>\n"}
_TYPE_INFORMATION, _VIRTUAL_TABLE = "_ZTI", "_ZTV"


def folder(toolchain: Toolchain) -> Path:
    """Return the cache's folder of extensions built for a PyTorch."""
    return cache_folder() / "bindings" / toolchain.name


def built(release: Release, toolchain: Toolchain, git_url: str) -> Path:
    """Return the compiled extension of a release, from the cache or newly built.

    :raises SourceUnavailable: its source cannot be fetched.
    :raises SourceError: it does not compile.
    """
    name = f"{sources.extension_name(release)}.so"
    place = folder(toolchain) / release.name
    mark = json.dumps({"source": sources.identity(release), "builder": BUILDER})
    if (place / "built.json").is_file() and (place / "built.json").read_text() == mark:
        return place / name
    place.mkdir(parents=True, exist_ok=True)
    with cleanup.scratch() as work:
        source = sources.unpacked(release, Path(work), git_url)
        linked = link(_compiled(release, source, toolchain, Path(work)), toolchain, Path(work))
        _beside(linked, place).replace(place / name)
    (place / "built.json").write_text(mark)
    return place / name


def _beside(file: Path, place: Path) -> Path:
    """Copy a file into the folder that it will be renamed in, which may be on another disk."""
    copy = place / f"{file.name}.{os.getpid()}"
    copy.write_bytes(file.read_bytes())
    return copy


def _compiled(
    release: Release, source: sources.Source, toolchain: Toolchain, work: Path
) -> list[Path]:
    """Compile the files that declare the extension, and return the object files."""
    ours = work / "compatibility"
    ours.mkdir()
    for name, text in _COMPATIBILITY.items():
        (ours / name).write_text(text)
    includes = [*(f"-I{path}" for path in (source.csrc, *source.headers, ours))]
    for path in toolchain.headers:
        includes += ["-isystem", str(path)]
    flags = ["-O0", "-fPIC", "-std=c++20", "-w", "-DTORCH_API_INCLUDE_EXTENSION_H"]
    flags += [f"-DTORCH_EXTENSION_NAME={sources.extension_name(release)}"]
    flags += [f"-D_GLIBCXX_USE_CXX11_ABI={int(toolchain.cxx11_abi)}"]
    objects = []
    for file in source.files:
        objects.append(work / f"{file.stem}.o")
        command = [COMPILER, *flags, *includes, "-c", str(file), "-o", str(objects[-1])]
        _checked(command, f"{file.name} of {release.name} does not compile")
    if not objects:
        raise SourceError(f"the source of {release.name} declares no extension")
    return objects


def link(objects: list[Path], toolchain: Toolchain, work: Path) -> Path:
    """Link object files into an extension, with traps for what stays undefined."""
    traps, out = work / "traps.s", work / "extension.so"
    traps.write_text("".join(f"{line}\n" for line in _traps(_undefined(objects, toolchain))))
    search = {f"-Wl,-rpath,{library.parent}": None for library in toolchain.libraries}
    command = [COMPILER, "-shared", "-o", str(out), *map(str, objects), str(traps)]
    _checked([*command, *map(str, toolchain.libraries), *search], "the extension does not link")
    return out


def _traps(undefined: Iterable[str]) -> Iterator[str]:
    """Yield assembly that defines symbols."""
    yield from (".text", "trap: ud2" if os.uname().machine == "x86_64" else "trap: udf #0")
    yield from (".data", ".balign 8")
    for symbol in undefined:
        yield f".weak {symbol}"
        if symbol.startswith(_TYPE_INFORMATION):
            name = symbol.removeprefix(_TYPE_INFORMATION)
            yield f"{symbol}: .quad _ZTVN10__cxxabiv117__class_type_infoE+16, 9f"
            yield f'9: .asciz "{name}"'
            yield ".balign 8"
        elif symbol.startswith(_VIRTUAL_TABLE):
            yield f"{symbol}: .quad 0, 0"
            yield from (".rept 64", ".quad trap", ".endr")
        else:
            yield f".set {symbol}, trap"
    yield '.section .note.GNU-stack,"",@progbits'


def _undefined(objects: list[Path], toolchain: Toolchain) -> list[str]:
    """Return the symbols that neither object files nor libraries define."""
    wanted = _symbols("--undefined-only", objects) - _symbols("--defined-only", objects)
    program = (
        "import ctypes, json, sys, torch\n"
        "for library in sys.argv[1:]: ctypes.CDLL(library, ctypes.RTLD_GLOBAL)\n"
        "here = ctypes.CDLL(None)\n"
        "print(json.dumps([s for s in json.load(sys.stdin) if not hasattr(here, s)]))\n"
    )
    # The linker defines these itself.
    wanted -= {"_GLOBAL_OFFSET_TABLE_", "__dso_handle"}
    libraries = [*map(str, toolchain.libraries), "libstdc++.so.6", "libm.so.6"]
    done = subprocess.run(
        [sys.executable, "-c", program, *libraries],
        input=json.dumps(sorted(wanted)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SourceError("the libraries of PyTorch cannot be loaded", why=done.stderr[-400:])
    found: list[str] = json.loads(done.stdout)
    return found


def _symbols(which: str, objects: list[Path]) -> set[str]:
    command = ["nm", which, "--format=posix", *map(str, objects)]
    lines = _checked(command, "nm cannot read what was compiled").splitlines()
    return {fields[0] for line in lines if len(fields := line.split()) > 1}


def _checked(command: list[str], what: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        raise SourceError(what, why=(errors or done.stderr.splitlines() or ["no reason given"])[0])
    return done.stdout
