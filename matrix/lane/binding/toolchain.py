"""The PyTorch of this interpreter as something to compile against, and the compiler.

PyTorch is asked in a process of its own: run as a program, this file describes it as JSON.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from matrix.errors import UsageError

COMPILER = "g++"


class Toolchain(BaseModel):
    """What extensions are compiled and linked with."""

    model_config = ConfigDict(frozen=True)

    torch: str
    """Version of PyTorch."""
    cuda: str | None
    """Version of CUDA that PyTorch was built with; None for a build without it."""
    python: str
    """Tag of the interpreter, e.g. ``cpython-311``."""
    cxx11_abi: bool
    """Whether PyTorch was built with the C++11 ABI of libstdc++."""
    headers: tuple[Path, ...]
    """Folders of the headers of PyTorch, Python and CUDA."""
    libraries: tuple[Path, ...]
    """Shared objects to link with."""

    @property
    def name(self) -> str:
        """What an extension is built for, e.g. ``torch-2.14.1+cu130-cpython-311``."""
        return f"torch-{self.torch}-{self.python}"


def find() -> Toolchain:
    """Return the toolchain of this interpreter.

    :raises UsageError: there is no CUDA build of PyTorch, no header, or no compiler.
    """
    command = [sys.executable, str(Path(__file__).resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    choose = "Choose one by TE_MATRIX_TORCH, and its index by TE_MATRIX_TORCH_INDEX"
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise UsageError("this interpreter has no PyTorch", why="".join(last), do=choose)
    found = Toolchain.model_validate_json(done.stdout)
    if found.cuda is None:
        raise UsageError(
            f"PyTorch {found.torch} is built without CUDA",
            why="the extensions include its headers of CUDA; a GPU is not needed",
            do=choose,
        )
    if shutil.which(COMPILER) is None:
        raise UsageError(f"there is no {COMPILER} on PATH", do="Install a C++ compiler")
    for header in ("cuda_runtime.h", "crt/host_defines.h", "cudnn.h"):
        if not any((folder / header).is_file() for folder in found.headers):
            raise UsageError(
                f"the headers of CUDA are not whole: {header} is missing",
                do="Install nvidia-cuda-crt and nvidia-cuda-cccl; the others come with PyTorch",
            )
    return found


def _describe() -> dict[str, object]:
    import sysconfig

    import torch
    from torch.utils import cpp_extension

    packages = Path(torch.__file__).parents[1]
    library = Path(torch.__file__).parent / "lib"
    names = ("c10", "torch", "torch_cpu", "torch_python", "torch_cuda", "c10_cuda")
    # Of CUDA 13 all headers are in one folder, of CUDA 12 each library has its own.
    nvidia = sorted(packages.glob("nvidia/*/include"))
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": sys.implementation.cache_tag,
        "cxx11_abi": torch._C._GLIBCXX_USE_CXX11_ABI,
        "headers": [
            *cpp_extension.include_paths(),
            sysconfig.get_paths()["include"],
            *map(str, nvidia),
            *(str(folder / "cccl") for folder in nvidia if (folder / "cccl").is_dir()),
        ],
        "libraries": [
            *(str(file) for name in names if (file := library / f"lib{name}.so").is_file()),
            *map(str, packages.glob("nvidia/*/lib/libcudart.so.*")),
        ],
    }


if __name__ == "__main__":
    print(json.dumps(_describe()))
