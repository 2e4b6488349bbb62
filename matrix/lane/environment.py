"""The worker as this machine has it: its folder, the digest of that, its environment variables."""

from __future__ import annotations

import functools
import os

from matrix.system import shipped
from matrix.system.digests import of_files

WORKER = shipped.PACKAGE / "worker"
"""Folder that Python runs as a program."""

_COMMON = {
    # TorchScript compiles functions that run once here.
    "PYTORCH_JIT": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    # Asking whether there is a GPU must not start CUDA in a process that forks.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}
# Large pages keep the page tables small that every fork copies: measured, a fork of
# the loaded server takes 5 ms with them and 21 ms without.
_FORKING = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "PYTHONMALLOC": "malloc"}
# Of the caller's environment only this reaches the worker: the last line for the gpu lane,
# whose Transformer Engine looks for its libraries there.
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_INHERITED = (
    *("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
    *(_VISIBLE, "CUDA_HOME", "CUDA_PATH", "CUDNN_PATH", "CUDNN_HOME", "NVRTC_HOME"),
)


def worker_environment(gpu: str | None = None) -> dict[str, str]:
    """Return the environment of a worker on this machine; no ``NVTE_*`` variable is inherited.

    :param gpu: the only GPU to be seen, by index or UUID; None for what the caller sees.
    """
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    chosen = {} if gpu is None else {_VISIBLE: gpu}
    return {**inherited, **chosen, **_COMMON, **_FORKING}


def container_environment(home: str) -> dict[str, str]:
    """Return the environment of a worker in a container; the image's own variables stay.

    :param home: a folder that the container can write to.
    """
    return {**_COMMON, "HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}


@functools.cache
def worker_digest() -> str:
    """Return the digest of the worker's files."""
    return of_files(WORKER)
