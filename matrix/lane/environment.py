"""The worker's folder, the digest of its files, and the environment variables that it gets."""

from __future__ import annotations

import functools
import os

from matrix.system import shipped
from matrix.system.digests import of_files

WORKER = shipped.PACKAGE / "worker"
"""Folder of the worker; Python runs it as a program."""

_COMMON = {
    # TorchScript compiles functions that run once here.
    "PYTORCH_JIT": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    # Asking whether there is a GPU must not start CUDA in a process that forks.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}
# Every fork copies the page tables, which large pages keep small: a fork of the loaded
# server takes 5 ms with them and 21 ms without.
_FORKING = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "PYTHONMALLOC": "malloc"}
# Nothing else of the caller's environment reaches the worker, so that no NVTE_* variable
# changes what is measured. The last line is for the gpu lane, where TE finds its libraries by it.
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_INHERITED = (
    *("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
    *(_VISIBLE, "CUDA_HOME", "CUDA_PATH", "CUDNN_PATH", "CUDNN_HOME", "NVRTC_HOME"),
)


def worker_environment(gpu: str | None = None) -> dict[str, str]:
    """Return the environment variables of a worker on this machine.

    :param gpu: the only visible GPU, by index or UUID; None for those that the caller sees.
    """
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    chosen = {} if gpu is None else {_VISIBLE: gpu}
    return {**inherited, **chosen, **_COMMON, **_FORKING}


def container_environment(home: str) -> dict[str, str]:
    """Return the variables that a worker in a container gets in addition to the image's.

    :param home: a writable folder of the container.
    """
    return {**_COMMON, "HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}


@functools.cache
def worker_digest() -> str:
    """Return the digest of the worker's files."""
    return of_files(WORKER)
