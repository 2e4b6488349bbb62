"""A release that trains without a GPU, for tests of the gpu lane's own code."""

from __future__ import annotations

import shutil
from pathlib import Path

_KERNELS = Path(__file__).with_name("kernels.py")
_PRELUDE = """\
import importlib.util as _util, sys as _sys
from pathlib import Path as _Path
from matrix.worker import standin as _standin
_standin.install(_Path(__file__).resolve().parents[1], {version!r})
"""
_POSTLUDE = """
import transformer_engine.pytorch
_spec = _util.spec_from_file_location("_kernels", {kernels!r})
_kernels = _util.module_from_spec(_spec)
_spec.loader.exec_module(_kernels)
_kernels.install(_sys.modules["transformer_engine_torch"], {minor!r})
"""


def install(source: Path, version: str, place: Path) -> Path:
    """Copy a release to where it looks installed, with kernels on the CPU.

    :param source: folder that holds the release's ``transformer_engine``.
    :param place: new folder that shall hold it.
    """
    shutil.copytree(source, place)
    entry = place / "transformer_engine" / "__init__.py"
    code = entry.read_text()
    major, minor = version.split(".")[:2]
    kernels = _POSTLUDE.format(kernels=str(_KERNELS), minor=(int(major), int(minor)))
    entry.write_text(_PRELUDE.format(version=version) + code + kernels)
    return place
