"""The fork server: imports torch and third-party packages once for all releases.

The harness sends one end of a socket per release. The server forks, and the child becomes the
process of that release. Transformer Engine is never imported in the server.
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

# Each is imported by some release. A release itself reports those that are missing.
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
        except Exception:  # the release that needs it reports that
            continue
    importlib.import_module("matrix.worker.cell")
    importlib.import_module("matrix.worker.warming").warm_up()
    forking.prepare_to_fork()


def _serve(connection: socket.socket, start: Dict[str, Any]) -> None:
    """Fork the process of a release; when it ends, tell the harness how."""
    child = os.fork()
    if child == 0:
        release.serve_socket(connection, start)
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):  # the harness has closed the connection
        connection.sendall(json.dumps({"ended": how_it_ended(status)}).encode() + b"\n")


def run(control_fd: int) -> None:
    """Serve until the harness closes its end of the control socket.

    :param control_fd: inherited descriptor of a Unix socket; each message on it is a start
        message as JSON, with the descriptor of a release's socket.
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
