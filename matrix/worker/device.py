"""Describes the GPU of this process. Forks cannot share CUDA, so each process asks itself."""

import re
import subprocess
from typing import Any, Dict

_KERNEL_MODULE = "/proc/driver/nvidia/version"


def probe() -> Dict[str, Any]:
    """Return what :func:`observe` returns, or ``without``: why there is no GPU."""
    try:
        import torch
    except ImportError as error:
        return {"without": "PyTorch cannot be imported: {}".format(error)}
    if torch.version.cuda is None:
        return {"without": "PyTorch {} is built without CUDA".format(torch.__version__)}
    if not torch.cuda.is_available():
        return {"without": "PyTorch {} finds no CUDA GPU".format(torch.__version__)}
    return observe()


def observe() -> Dict[str, Any]:
    """Describe the GPU and its software.

    :returns: ``gpu`` (its name), ``capability`` ("9.0"), and the versions of ``driver``,
        ``cuda`` and ``cudnn``.
    """
    import torch

    return {
        "gpu": torch.cuda.get_device_name(0),
        "capability": "{}.{}".format(*torch.cuda.get_device_capability(0)),
        "driver": _driver(),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
    }


def _driver() -> str:
    """Return the version of the driver; "unknown" if it cannot be found."""
    command = ["nvidia-smi", "--id=0", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.check_output(command, universal_newlines=True, timeout=30).strip()
    except (OSError, subprocess.SubprocessError):
        return _kernel_module()


def _kernel_module() -> str:
    """Return the version that the kernel reports: a container may lack the driver's tools."""
    try:
        with open(_KERNEL_MODULE) as stream:
            found = re.search(r"\d{3,}\.[\d.]+", stream.read())
    except OSError:
        found = None
    return found.group() if found else "unknown"
