"""The Python packages of the cpu lane, downloaded as wheels by pip on this machine.

The wheels fit the Python and the platform of the base image, not those of this machine. Index,
certificates and credentials are those of pip here: they stay out of the images, and the build
needs no network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import APIError, ContainerError
from packaging.requirements import Requirement

from matrix.errors import EngineError
from matrix.lane.containers.engine import explanation, run_program
from matrix.lane.containers.image_spec import public
from matrix.system import cleanup

DISTRIBUTION = "te-checkpoint-matrix"
_WHEELS = "wheels-"
_OLDEST_GLIBC = 17  # manylinux2014; no package of the cpu lane has older wheels
_ASK = (
    "import json, os, platform, sys; print(json.dumps({"
    "'python': '%d.%d' % sys.version_info[:2], 'machine': platform.machine(), "
    "'glibc': os.confstr('CS_GNU_LIBC_VERSION').split('.')[-1]}))"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WheelTarget:
    """The platform that wheels must fit.

    :param python: e.g. "3.11".
    :param machine: e.g. "x86_64".
    :param glibc: minor version of glibc 2, e.g. "36".
    """

    python: str
    machine: str
    glibc: str

    def options(self) -> Iterator[str]:
        """Yield the options by which pip downloads such wheels."""
        yield from ("--only-binary=:all:", "--implementation=cp")
        yield f"--python-version={self.python}"
        for minor in range(int(self.glibc), _OLDEST_GLIBC - 1, -1):
            yield f"--platform=manylinux_2_{minor}_{self.machine}"
        yield f"--platform=manylinux2014_{self.machine}"
        yield f"--platform=linux_{self.machine}"


def wheel_target(client: docker.DockerClient, image: str) -> WheelTarget:
    """Return the platform of a base image.

    :raises EngineError: its Python cannot be asked.
    """
    try:
        return WheelTarget(**json.loads(run_program(client, image, "python3", ["-c", _ASK])))
    except (APIError, ContainerError, ValueError, TypeError) as error:
        raise EngineError(
            f"python3 of the base image {image} could not be asked what it is",
            why=explanation(error),
            do="See that the engine runs containers of it at all; the cpu lane builds on a base "
            "with python3, pip and venv on glibc, such as python:3.11-slim-bookworm",
        ) from error


def requirements() -> tuple[str, ...]:
    """Return the requirements of the cpu lane, PyTorch first; ``TE_MATRIX_TORCH`` overrides it.

    :raises UsageError: ``TE_MATRIX_TORCH`` holds credentials.
    """
    torch = public("TE_MATRIX_TORCH") if "TE_MATRIX_TORCH" in os.environ else ""
    return (*([torch] if torch else _extra("torch")), *_extra("cpu"))


def _extra(name: str) -> list[str]:
    """Return the requirements of an extra of this package on Linux."""
    there = {"extra": name, "platform_system": "Linux", "sys_platform": "linux"}
    found = []
    for text in importlib.metadata.requires(DISTRIBUTION) or ():
        wanted = Requirement(text)
        if wanted.marker and "extra" in str(wanted.marker) and wanted.marker.evaluate(there):
            found.append(f"{wanted.name}{wanted.specifier}")
    return found


@contextlib.contextmanager
def wheel_folder(cache: Path) -> Iterator[Path]:
    """Yield an empty folder for wheels, and remove it afterwards.

    The wheels have half a gigabyte, so that what ended processes have left is removed first.

    :param cache: the folder to make it in.
    """
    cleanup.sweep(cache, _WHEELS)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=cleanup.mark(_WHEELS)) as folder:
        yield Path(folder)


def download(folder: Path, wanted: tuple[str, ...], target: WheelTarget) -> None:
    """Download wheels into a folder, and write ``requirements.txt`` there.

    :param wanted: requirements, PyTorch first; that comes from ``TE_MATRIX_TORCH_INDEX`` if
        that is set.
    :raises EngineError: pip could not download them.
    """
    torch, *others = wanted
    index = os.environ.get("TE_MATRIX_TORCH_INDEX")
    _download(folder, [torch], target, ["--index-url", index] if index else [])
    _download(folder, others, target, [])
    (folder / "requirements.txt").write_text("\n".join(wanted) + "\n")


def _download(folder: Path, wanted: list[str], target: WheelTarget, options: list[str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    command += [*options, "--find-links", str(folder), *target.options(), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise EngineError(
            f"pip could not gather {', '.join(wanted)} for Python {target.python} "
            f"on {target.machine}",
            why=last[-1],
            do="Check pip's index settings; TE_MATRIX_TORCH and TE_MATRIX_TORCH_INDEX "
            "choose another build of PyTorch",
        )
