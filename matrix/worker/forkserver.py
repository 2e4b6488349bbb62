"""The fork server: pays for torch and third-party imports once.

The harness hands over one end of a socket per release; the host forks, and the
child becomes that release's process. Nothing of TE is ever imported here.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
from typing import Any, Dict

from matrix.worker import forking, release
from matrix.worker.protocol import how_it_ended

# Imported by one release or another; absent ones are left to the release.
_SHARED = (
    "numpy",
    "packaging.version",
    "psutil",
    "pydantic.dataclasses",
    "pydantic.main",
    "einops",
    "onnx",
    "onnxscript",
    "triton",
    "triton.language",
    "pkg_resources",
    "setuptools",
    "torch",
    "torch._dynamo",
    "torch.distributed._tensor",
    "torch.distributed.checkpoint",
    "torch.distributed.elastic.agent.server.api",
    "torch.distributed.fsdp",
    "torch.nn.parallel",
    "torch.onnx",
    "torch.testing",
    "torch.utils.cpp_extension",
)


def _preload() -> None:
    for name in _SHARED:
        try:
            importlib.import_module(name)
        except Exception:  # the release that needs it will say so itself
            continue
    importlib.import_module("matrix.worker.cell")
    importlib.import_module("matrix.worker.warming").warm_up()
    forking.settle()


def _serve(connection: socket.socket, start: Dict[str, Any]) -> None:
    """Fork a release's process, and when it has ended tell the harness how."""
    child = os.fork()
    if child == 0:
        release.serve_socket(connection, start)
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):  # the harness has gone, as it does when it is done
        connection.sendall(json.dumps({"ended": how_it_ended(status)}).encode() + b"\n")


def run(control_fd: int) -> None:
    """Serve until the harness closes its end of the control socket.

    :param control_fd: inherited descriptor of a Unix stream socket; every
        message on it is one JSON line with the descriptor of a release's socket.
    """
    _preload()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=control_fd)
    control.sendall(b"ready\n")
    while True:
        data, fds, _flags, _addr = socket.recv_fds(control, 65536, 1)
        if not data:
            return
        if os.fork() == 0:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _serve(socket.socket(fileno=fds[0]), json.loads(data))
            os._exit(0)
        os.close(fds[0])
