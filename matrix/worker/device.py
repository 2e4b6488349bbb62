"""What a process sees of its GPU. Asked in a process of its own: a fork cannot share CUDA."""

import re
import subprocess
from typing import Any, Dict

_KERNEL_MODULE = "/proc/driver/nvidia/version"


def probe() -> Dict[str, Any]:
    """Return what :func:`observe` does, or ``without``: why there is no GPU to observe."""
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
    """Return the GPU's name, compute capability and driver, and the versions of CUDA and cuDNN.

    :returns: ``gpu``, ``capability`` ("9.0"), ``driver``, ``cuda``, ``cudnn``.
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
    """Return the driver's version; "unknown" where neither its tool nor its module tells."""
    command = ["nvidia-smi", "--id=0", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.check_output(command, universal_newlines=True, timeout=30).strip()
    except (OSError, subprocess.SubprocessError):
        return _kernel_module()


def _kernel_module() -> str:
    """Ask the kernel: a container may be given a GPU without the driver's tools."""
    try:
        with open(_KERNEL_MODULE) as stream:
            found = re.search(r"\d{3,}\.[\d.]+", stream.read())
    except OSError:
        found = None
    return found.group() if found else "unknown"
