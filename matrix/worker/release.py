"""One release process: imports a release once, then forks for every scenario, save and load.

On a GPU every fork imports the release itself, because importing may use the GPU
(``pytorch/attention.py`` of 1.11 does, later ones if flash-attn is installed) and CUDA does not
survive a fork.

``save`` can be requested at any time. ``enter`` builds the model of a scenario, ``load`` is
possible after it, and ``leave`` ends the scenario.
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
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional

from matrix.worker import PROTOCOL, container_cleanup, forking
from matrix.worker.loading_process import LoadingProcess
from matrix.worker.protocol import Channel, Message, how_it_ended

if TYPE_CHECKING:  # it imports torch, which a release process does later
    from matrix.worker.process_state import ProcessState

_INTRODUCE = "introduce"
_OPT_IN = ("transformer_engine.pytorch._extra_state", "UNSAFE_PICKLE_EXTRA_STATE_ENV")


def serve_stdio() -> None:
    """Serve on standard input and output; all other output goes to standard error."""
    channel = Channel(sys.stdin.buffer, os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    start = channel.receive()
    if start is not None:
        if start.get("scratch"):
            container_cleanup.enable(start["scratch"])
        _serve(channel, start)


def serve_socket(connection: socket.socket, start: Message) -> None:
    """Serve on a socket from the fork server; output goes to the file ``start["log"]``."""
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
        _answer_requests(channel, start, _shared_state(start))


def _introduce(channel: Channel, start: Message) -> Message:
    """Return the first message: the imported release, and in the gpu lane the device."""
    if start["lane"] != "gpu":
        return _import(start)
    importlib.import_module("torch")
    request = {"op": _INTRODUCE, "timeout": start["timeout"]}
    reply = _in_child(channel, request, start)
    answer: Message = reply.get("answer", {"protocol": PROTOCOL, "failure": reply.get("failure")})
    return answer


def _shared_state(start: Message) -> Optional["ProcessState"]:
    """Return the state that loads of one process share; None if each has a process of its own."""
    if start["lane"] == "gpu" or start.get("candidate") or container_cleanup.enabled():
        return None
    found: "ProcessState" = importlib.import_module("matrix.worker.process_state").ProcessState()
    return found


def _answer_requests(
    channel: Channel,
    start: Message,
    state: Optional["ProcessState"],
    loading: Optional[LoadingProcess] = None,
) -> None:
    """Answer requests until the connection is closed or the scenario is left.

    :param state: see :func:`_shared_state`.
    :param loading: the process that loads; None where every load has a process of its own.
    """
    while True:
        request = channel.receive()
        if request is None:
            return
        if request["op"] == "leave":
            channel.send({"id": request["id"], "answer": {}})
            return
        if request["op"] == "enter":
            _enter(channel, request, start, state)
        elif loading is not None and request["op"] == "load":
            began = time.monotonic()
            channel.send(_reply(request, began, *loading.answer(request)))
        else:
            channel.send(_in_child(channel, request, start))


def _enter(
    channel: Channel, request: Message, start: Message, state: Optional["ProcessState"]
) -> None:
    """Fork a process for a scenario, which answers requests until ``leave``.

    So no scenario can influence another. If the process ends otherwise, the harness is told.
    """
    container_cleanup.clear()
    child = os.fork()
    if child == 0:
        container_cleanup.adopt_orphans()
        on_gpu = start["lane"] == "gpu"
        reply = _in_child(channel, request, start) if on_gpu else _build(request)
        channel.send(dict(reply, id=request["id"]))
        if "answer" in reply:
            loading = _loading_process(channel, start, state) if state else None
            _answer_requests(channel, start, state, loading)
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    if status:
        channel.send({"ended": "the scenario's process, " + how_it_ended(status)})


def _loading_process(channel: Channel, start: Message, state: "ProcessState") -> LoadingProcess:
    return LoadingProcess(
        state,
        channel.leave,
        lambda request: _performed(request, start),
        lambda fd, deadline: _read_line(fd, deadline, channel),
    )


def _build(request: Message) -> Message:
    """Build the model of the scenario without any checkpoint; loads start from it."""
    cell = importlib.import_module("matrix.worker.cell")
    try:
        reply: Message = {"answer": cell.enter(request)}
    except BaseException as error:
        reply = {"failure": _crash(error)}
    forking.prepare_to_fork()
    return reply


def _import(start: Message) -> Message:
    """Import the release and describe it.

    :param start: the start message: ``lane``, ``version``, and ``source``, the folder that
        holds ``transformer_engine``. The gpu lane imports the installed one, also from there.
    """
    os.environ["NVTE_TORCH_COMPILE"] = "0"
    if start["lane"] == "cpu":
        from matrix.worker import standin

        binding = start.get("binding")
        standin.install(
            Path(start["source"]),
            start["version"],
            binding and Path(binding),
            candidate=start.get("candidate", False),
        )
        sys.path.insert(0, start["source"])
    elif start["source"] and start["source"] not in sys.path:
        sys.path.append(start["source"])
    began = time.monotonic()
    te = importlib.import_module("transformer_engine")
    importlib.import_module("transformer_engine.pytorch")
    importlib.import_module("matrix.worker.cell")
    exports = importlib.import_module("matrix.worker.exports")
    import torch

    forking.prepare_to_fork()
    return {
        "protocol": PROTOCOL,
        "release": start["version"],
        "te_file": str(te.__file__),
        "te_version": str(getattr(te, "__version__", "")),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "opt_in": _opt_in(),
        **exports.observe(),
        "binding": start.get("binding") and _extension_file(),
        "import_seconds": round(time.monotonic() - began, 3),
    }


def _extension_file() -> Optional[str]:
    """Return the file of the compiled extension that was imported; None for the stand-in."""
    for name in ("transformer_engine_torch", "transformer_engine_extensions"):
        if name in sys.modules:
            return getattr(sys.modules[name], "__file__", None)
    return None


def _opt_in() -> Optional[str]:
    """Return the environment variable that permits pickled extra state; None without one."""
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
    """Fork, have the child answer, and report a crash or a time-out as a failure."""
    container_cleanup.clear()
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
    return _reply(request, began, data, status)


def _reply(request: Message, began: float, data: Optional[bytes], status: int) -> Message:
    """Return the reply to a request, from the line that a process answered.

    :param data: None where it did not answer in time.
    :param status: its exit status, where it has ended.
    """
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
    """Read a line, or less if the other end is closed before its end.

    :param deadline: a time of ``time.monotonic``: processes that a child left behind may keep
        the other end open.
    :param channel: the connection to the harness. Nothing is expected there but its end.
    :returns: None if the deadline passes or the harness closes the connection.
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
    """In the child: carry out the request, write the answer, and exit."""
    answer = _performed(request, start)
    with os.fdopen(fd, "wb") as stream:
        stream.write(json.dumps(answer).encode("utf-8") + b"\n")
    os._exit(0 if "answer" in answer else 1)


def _performed(request: Message, start: Message) -> Message:
    """Return the answer to a request, or the failure."""
    try:
        return {"answer": _perform(request, start)}
    except BaseException as error:
        return {"failure": _crash(error)}


def _perform(request: Message, start: Message) -> Message:
    if start["lane"] == "gpu":
        hello = _import(start)
        if request["op"] == _INTRODUCE:
            device = importlib.import_module("matrix.worker.device")
            return dict(hello, device=device.observe())
    operations = importlib.import_module("matrix.worker.cell").OPERATIONS
    operation: Callable[[Message], Message] = operations[request["op"]]
    return operation(request)
