"""The GPU of this machine, for the gpu lane without containers; requirements on any GPU."""

from __future__ import annotations

import json
import subprocess
import sys

from matrix.errors import DeviceError
from matrix.lane.environment import WORKER, worker_environment
from matrix.lane.protocol import START_TIMEOUT
from matrix.store.records import Device

FP8_ATTENTION = (9, 0)
"""Compute capability from which TE has FP8 attention kernels
(``common/fused_attn/fused_attn.cpp``: ``nvte_get_fused_attn_backend``)."""

ONLY_CPU = "The cpu lane is possible here: `--lane cpu`"


def is_enough(capability: str) -> bool:
    """Tell whether a GPU can do FP8 attention.

    :param capability: its compute capability, e.g. "9.0".
    """
    return tuple(int(part) for part in capability.split(".")) >= FP8_ATTENTION


def require(gpu: str | None) -> Device:
    """Return the GPU that a worker of this interpreter will use.

    :param gpu: index or UUID; None for the first visible one.
    :raises DeviceError: there is no GPU, or it cannot do FP8 attention.
    """
    found = _probe(gpu)
    if without := found.get("without"):
        raise DeviceError("the gpu lane finds no GPU here", why=without, do=ONLY_CPU)
    device = Device(**found)
    if not is_enough(device.capability):
        raise DeviceError(
            f"{device.gpu} (driver {device.driver}) has compute capability {device.capability}; "
            "FP8 attention needs 9.0 (sm90) or newer",
            do=f"Choose another GPU with --gpu. {ONLY_CPU}",
        )
    return device


def _probe(gpu: str | None) -> dict[str, str]:
    """Ask a separate process, because the harness itself never imports PyTorch."""
    command = [sys.executable, str(WORKER), "device"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=START_TIMEOUT,
            env=worker_environment(gpu),
        )
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"exit status {error.returncode}"])[-1]
        return {"without": f"asking for it failed: {last}"}
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return {"without": f"asking for it failed: {error}"}
    return found
