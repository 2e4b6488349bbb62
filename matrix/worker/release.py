"""One release: import its TE once, then fork for every scenario and every cell.

On a GPU every cell imports for itself: importing a release may ask for the GPU
(``pytorch/attention.py`` of 1.11 does, later ones where flash-attn is installed), and
CUDA does not survive a fork.

``save`` is answered at any time. ``enter`` builds a scenario's model, ``load`` is
answered after it, and ``leave`` ends it.
"""

import importlib
import json
import os
import platform
import select
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, Optional

from matrix.worker import PROTOCOL, alone, forking
from matrix.worker.protocol import Channel, Message, how_it_ended

_INTRODUCE = "introduce"
_OPT_IN = ("transformer_engine.pytorch._extra_state", "UNSAFE_PICKLE_EXTRA_STATE_ENV")


def serve_stdio() -> None:
    """Serve on standard input and output; everything else printed goes to stderr."""
    channel = Channel(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    start = channel.receive()
    if start is not None:
        if start.get("scratch"):
            alone.begin(start["scratch"])
        _serve(channel, start)


def serve_socket(connection: socket.socket, start: Message) -> None:
    """Serve on a socket handed over by the host, printing into ``start["log"]``."""
    log = os.open(start["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    _serve(Channel(connection.makefile("rb"), connection.makefile("wb")), start)


def _serve(channel: Channel, start: Message) -> None:
    try:
        hello = _introduce(channel, start)
    except BaseException as error:
        hello = {"protocol": PROTOCOL, "failure": _crash(error)}
    channel.send(hello)
    if "failure" not in hello:
        _answer_requests(channel, start)


def _introduce(channel: Channel, start: Message) -> Message:
    """Return the first message: what release this is, and in the gpu lane on what device."""
    if start["lane"] != "gpu":
        return _import(start)
    importlib.import_module("torch")
    request = {"op": _INTRODUCE, "timeout": start["timeout"]}
    reply = _in_child(channel, request, start)
    answer: Message = reply.get("answer", {"protocol": PROTOCOL, "failure": reply.get("failure")})
    return answer


def _answer_requests(channel: Channel, start: Message) -> None:
    """Answer until the other end closes, or until it says to leave the scenario."""
    while True:
        request = channel.receive()
        if request is None:
            return
        if request["op"] == "leave":
            channel.send({"id": request["id"], "answer": {}})
            return
        if request["op"] == "enter":
            _enter(channel, request, start)
        else:
            channel.send(_in_child(channel, request, start))


def _enter(channel: Channel, request: Message, start: Message) -> None:
    """Fork a process that stands for the scenario and answers until told to leave.

    Nothing of one scenario reaches another. If it ends otherwise, the harness is told how.
    """
    alone.clear()
    child = os.fork()
    if child == 0:
        alone.adopt()
        on_gpu = start["lane"] == "gpu"
        reply = _in_child(channel, request, start) if on_gpu else _build(request)
        channel.send(dict(reply, id=request["id"]))
        if "answer" in reply:
            _answer_requests(channel, start)
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    if status:
        channel.send({"ended": "the scenario's process, " + how_it_ended(status)})


def _build(request: Message) -> Message:
    """Build the scenario's model with no checkpoint at all, for every cell to start from."""
    cell = importlib.import_module("matrix.worker.cell")
    try:
        reply: Message = {"answer": cell.enter(request)}
    except BaseException as error:
        reply = {"failure": _crash(error)}
    forking.settle()
    return reply


def _import(start: Message) -> Message:
    """Import the release and say what it is.

    :param start: ``lane``, ``version``, and ``source``: the folder that holds
        ``transformer_engine``. The gpu lane runs what is installed, there where it is given.
    """
    os.environ["NVTE_TORCH_COMPILE"] = "0"
    if start["lane"] == "cpu":
        from matrix.worker import standin

        standin.install(Path(start["source"]), start["version"])
        sys.path.insert(0, start["source"])
    elif start["source"] and start["source"] not in sys.path:
        sys.path.append(start["source"])
    began = time.monotonic()
    te = importlib.import_module("transformer_engine")
    importlib.import_module("transformer_engine.pytorch")
    importlib.import_module("matrix.worker.cell")
    import torch

    forking.settle()
    return {
        "protocol": PROTOCOL,
        "release": start["version"],
        "te_file": str(te.__file__),
        "te_version": str(getattr(te, "__version__", "")),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "opt_in": _opt_in(),
        "import_seconds": round(time.monotonic() - began, 3),
    }


def _opt_in() -> Optional[str]:
    """Return the variable by which the release lets pickled extra state in, if it has one."""
    module, name = _OPT_IN
    try:
        found: str = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return None
    return found


def _crash(error: BaseException) -> Dict[str, Any]:
    from matrix.worker import gaps

    tail = traceback.format_exception(type(error), error, error.__traceback__)[-6:]
    return {
        "kind": "exception",
        "type": type(error).__name__,
        "message": str(error)[:4000],
        "traceback": "".join(tail)[-4000:],
        "gaps": gaps.met(),
    }


def _in_child(channel: Channel, request: Message, start: Message) -> Message:
    """Fork, let the child answer, and tell a crash or a time-out from an answer."""
    alone.clear()
    read_end, write_end = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        channel.leave()
        _answer(request, start, write_end)
    os.close(write_end)
    data = _read_line(read_end, began + request["timeout"], channel)
    os.close(read_end)
    if data is None:
        os.kill(child, signal.SIGKILL)
    _pid, status = os.waitpid(child, 0)
    reply = {"id": request.get("id"), "seconds": round(time.monotonic() - began, 4)}
    if data is None:
        message = "no answer within {} s".format(request["timeout"])
        return dict(reply, failure={"kind": "timeout", "message": message})
    return dict(reply, **_decode(data, status))


def _decode(data: bytes, status: int) -> Message:
    try:
        answer: Message = json.loads(data)
    except ValueError:
        how = how_it_ended(status)
        return {"failure": {"kind": "crash", "message": "the cell's process ended: " + how}}
    return answer


def _read_line(fd: int, deadline: float, channel: Channel) -> Optional[bytes]:
    """Read a line, or less where the other end closes before its end.

    Processes that a cell left behind may hold the other end open.

    :param channel: whence no request is due; what can be read there is the harness's end.
    :returns: None when the deadline passes first, or the harness is gone.
    """
    parts = []
    while True:
        left = deadline - time.monotonic()
        ready = select.select([fd, channel.fileno()], [], [], left)[0] if left > 0 else []
        if fd not in ready:
            return None
        part = os.read(fd, 1 << 16)
        parts.append(part)
        if not part or part.endswith(b"\n"):
            return b"".join(parts)


def _answer(request: Message, start: Message, fd: int) -> None:
    """In the child: run the request, write the answer, leave."""
    status = 0
    try:
        answer = {"answer": _perform(request, start)}
    except BaseException as error:
        answer, status = {"failure": _crash(error)}, 1
    with os.fdopen(fd, "wb") as stream:
        stream.write(json.dumps(answer).encode("utf-8") + b"\n")
    os._exit(status)


def _perform(request: Message, start: Message) -> Message:
    if start["lane"] == "gpu":
        hello = _import(start)
        if request["op"] == _INTRODUCE:
            device = importlib.import_module("matrix.worker.device")
            return dict(hello, device=device.observe())
    operations = importlib.import_module("matrix.worker.cell").OPERATIONS
    operation: Callable[[Message], Message] = operations[request["op"]]
    return operation(request)
