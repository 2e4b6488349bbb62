"""Find CUDA's headers for a compilation beside PyTorch.

    python3 cuda_headers.py MAJOR SITE

MAJOR is the version of CUDA that PyTorch was built with, e.g. 13; SITE the folder of PyTorch's
packages. Prints two lines: the folder to set CUDA_HOME to, and the folders of headers, joined by
colons, to set CPLUS_INCLUDE_PATH to. Where something is missing, one sentence on stderr says
what, and the exit code is 4.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HEADERS = {
    "cuda_runtime.h": ("nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime"),
    "crt/host_defines.h": ("nvidia-cuda-nvcc-cu12", "nvidia-cuda-crt"),
    "nv/target": ("nvidia-cuda-cccl-cu12", "nvidia-cuda-cccl"),
    "cublas_v2.h": ("nvidia-cublas-cu12", "nvidia-cublas"),
    "cusolverDn.h": ("nvidia-cusolver-cu12", "nvidia-cusolver"),
    "cusparse.h": ("nvidia-cusparse-cu12", "nvidia-cusparse"),
    "nvrtc.h": ("nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc"),
    "cudnn.h": ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
    "nccl.h": ("nvidia-nccl-cu12", "nvidia-nccl-cu13"),
}
"""Headers that Transformer Engine or PyTorch includes; the packages with each, CUDA 12's first."""

USUAL = Path("/usr/local/cuda")
"""Where NVIDIA's installers put a toolkit."""


def nvcc_root(nvcc: str) -> Path | None:
    """Return the folder of the toolkit that an nvcc belongs to; None where it does not say.

    The program itself is asked: what is on PATH may be a script that calls another one.
    """
    command = [nvcc, "--dryrun", "x.cu"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    found = re.search(r"^#\$ TOP=(.+)$", asked.stdout + asked.stderr, re.MULTILINE)
    return Path(found[1].strip()).resolve() if found else None


def version(root: Path) -> str | None:
    """Return the major version of the headers of a toolkit; None where it has none."""
    header = root / "include" / "cuda_runtime_api.h"
    if not (root / "include" / "cuda_runtime.h").is_file() or not header.is_file():
        return None
    found = re.search(r"#define\s+CUDART_VERSION\s+(\d+)", header.read_text(errors="replace"))
    return str(int(found[1]) // 1000) if found else None


def toolkits(site: Path) -> Iterator[tuple[str, Path]]:
    """Yield places where a toolkit may be, each with how it was found."""
    if home := os.environ.get("CUDA_HOME"):
        yield "CUDA_HOME", Path(home)
        return
    if (nvcc := shutil.which("nvcc")) and (root := nvcc_root(nvcc)):
        yield f"what {nvcc} calls", root
    for folder in sorted(site.glob("nvidia/*/include/cuda_runtime.h")):
        yield "a package beside PyTorch", folder.parents[1]
    yield "the usual place", USUAL


def toolkit(major: str, site: Path) -> Path:
    """Return the toolkit to compile with: one with nvcc if possible, else headers alone.

    :raises LookupError: there is none of the right version; the message says what was seen.
    """
    seen = [(how, root, version(root)) for how, root in toolkits(site)]
    fitting = [root for _how, root, number in seen if number == major]
    if not fitting:
        found = "; ".join(
            f"{root} ({how}) has {f'those of CUDA {number}' if number else 'none'}"
            for how, root, number in seen
        )
        raise LookupError(
            f"the headers of CUDA {major}, PyTorch's version, are not here: {found}. "
            "Set CUDA_HOME to a toolkit of that version, or install beside PyTorch "
            + " ".join(package_with(name, major) for name in list(HEADERS)[:3])
        )
    with_nvcc = [root for root in fitting if (root / "bin" / "nvcc").is_file()]
    return (with_nvcc or fitting)[0]


def package_with(header: str, major: str) -> str:
    """Return the package that has a header, for a version of CUDA."""
    before, now = HEADERS[header]
    return before if major == "12" else now


def folders(root: Path, site: Path, major: str) -> list[Path]:
    """Return all folders with headers: the toolkit's, then those of PyTorch's packages.

    :raises LookupError: a header is in none of them.
    """
    found = [root / "include", *sorted(site.glob("nvidia/*/include"))]
    found += [folder / "cccl" for folder in found if (folder / "cccl").is_dir()]
    missing = [
        header for header in HEADERS if not any((folder / header).is_file() for folder in found)
    ]
    if missing:
        raise LookupError(
            f"{', '.join(missing)} are neither in {root} nor beside PyTorch. Install beside "
            f"PyTorch {' '.join(package_with(header, major) for header in missing)}"
        )
    return list(dict.fromkeys(folder.resolve() for folder in found))


def main(major: str, place: str) -> int:
    """Print CUDA_HOME and the folders of headers; return the exit code."""
    site = Path(place)
    try:
        root = toolkit(major, site)
        headers = folders(root, site, major)
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 4
    print(root, ":".join(map(str, headers)), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
