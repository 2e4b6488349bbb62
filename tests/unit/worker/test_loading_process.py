"""Rule: a process loads again only where nothing of the load before is left in it."""

from __future__ import annotations

import functools
import json
import os
import select
import sys
import threading
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import torch

from matrix.worker import loading_process
from matrix.worker.loading_process import LoadingProcess
from matrix.worker.process_state import ProcessState

NAME = "transformer_engine.made_up"


@functools.cache
def _cached(number: int) -> int:
    return number


class Manager:
    """What releases keep their global state in."""

    buffers: ClassVar[dict[str, list[int]]] = {"forward": [1]}
    first = True


class Held:
    """An object that a module holds."""

    def __init__(self) -> None:
        self.layers = [1]


Manager.__module__ = Held.__module__ = NAME


def counting(seen: list[int] = [0]) -> list[int]:  # noqa: B006  # one that is kept on purpose
    return seen


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    made: Any = types.ModuleType(NAME)
    made.Manager, made.held, made.names = Manager, Held(), {"a"}
    made.queue, made.local, made.cached = deque([1]), threading.local(), _cached
    made.local.depth = 1
    made.number, made.counting, made.tensor = 1, counting, torch.zeros(2)
    monkeypatch.setitem(sys.modules, NAME, made)
    return made


def _nothing(module: Any) -> None:
    pass


CHANGES: dict[str, Callable[[Any], Any]] = {
    "a name": lambda module: setattr(module, "number", 2),
    "a new name": lambda module: setattr(module, "other", 2),
    "a removed name": lambda module: delattr(module, "number"),
    "another tensor": lambda module: setattr(module, "tensor", torch.ones(2)),
    "an attribute of a class": lambda module: setattr(Manager, "first", False),
    "a new attribute of a class": lambda module: setattr(Manager, "second", 1),
    "a dict": lambda module: Manager.buffers.update(backward=[1]),
    "a list in a dict": lambda module: Manager.buffers["forward"].append(2),
    "a list of an object": lambda module: module.held.layers.clear(),
    "a set": lambda module: module.names.add("b"),
    "a queue": lambda module: module.queue.append(2),
    "an attribute of a thread": lambda module: setattr(module.local, "depth", 2),
    "a default of a function": lambda module: counting().append(1),
    "the environment": lambda module: os.environ.update(NVTE_MADE_UP="1"),
    "a filter of warnings": lambda module: warnings.simplefilter("ignore", BytesWarning),
    "nothing": _nothing,
}


def looks(module: Any) -> tuple[Any, ...]:
    return (
        {name: id(value) for name, value in vars(module).items() if not name.startswith("__")},
        dict(vars(Manager)),
        {name: list(held) for name, held in Manager.buffers.items()},
        list(module.held.layers),
        set(module.names),
        list(module.queue),
        module.local.depth,
        list(counting()),
        dict(os.environ),
        list(warnings.filters),
    )


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_load_changes_is_put_back(
    release: types.ModuleType, change: Callable[[Any], Any]
) -> None:
    state, before = ProcessState(), looks(release)
    change(release)
    assert (looks(release) != before) == (change is not _nothing)
    assert state.restore()
    assert looks(release) == before


def test_what_a_load_caches_is_forgotten(release: types.ModuleType) -> None:
    _cached.cache_clear()
    state = ProcessState()
    _cached(1)
    assert state.restore()
    assert _cached.cache_info().currsize == 0


def test_a_module_that_is_new_cannot_be_put_back(
    release: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ProcessState()
    monkeypatch.setitem(sys.modules, f"{NAME}.other", types.ModuleType("other"))
    assert not state.restore()


def test_a_flag_of_pytorch_cannot_be_put_back(release: types.ModuleType) -> None:
    state = ProcessState()
    with torch.no_grad():
        assert not state.restore()
    assert state.restore()


def read(fd: int, deadline: float) -> bytes | None:
    """Read a line, or nothing after a quarter of a second."""
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([fd], [], [], 0.25)[0]:
            return None
        part = os.read(fd, 1 << 16)
        if not part:
            break
        line += part
    return line


class State:
    """A state that can be put back after all loads but one."""

    def __init__(self, spoilt_by: int) -> None:
        self.loads, self.spoilt_by = 0, spoilt_by

    def restore(self) -> bool:
        self.loads += 1
        return self.loads != self.spoilt_by


@pytest.fixture
def asked() -> Iterator[Callable[..., list[Any]]]:
    """Ask a process for answers; each says which process it is, and fails as it is told."""

    def perform(request: dict[str, Any]) -> dict[str, Any]:
        match request.get("do"):
            case "crash":
                os._exit(3)
            case "hang":
                threading.Event().wait()
            case "fail":
                return {"failure": {"kind": "exception"}}
        return {"answer": {"process": os.getpid()}}

    made: list[LoadingProcess] = []

    def ask(*doing: str, spoilt_by: int = 0) -> list[Any]:
        state: Any = State(spoilt_by)
        process = LoadingProcess(state, lambda: None, perform, read)
        made.append(process)
        found = []
        for do in doing:
            line, status = process.answer({"do": do, "timeout": 1})
            reply = json.loads(line) if line else {}
            found.append(reply.get("answer", reply.get("failure", (line, status))))
        return found

    yield ask
    for process in made:
        process.close()


def numbers(answers: list[Any]) -> list[int]:
    """The number of each answer's process, from 1 in the order of their first answers."""
    order = list(dict.fromkeys(answer["process"] for answer in answers))
    return [order.index(answer["process"]) + 1 for answer in answers]


def test_loads_share_a_process(asked: Callable[..., list[Any]]) -> None:
    assert numbers(asked("", "", "")) == [1, 1, 1]


def test_after_a_load_that_leaves_something_there_is_a_new_one(
    asked: Callable[..., list[Any]],
) -> None:
    assert numbers(asked("", "", "", "", spoilt_by=2)) == [1, 1, 2, 2]


def test_a_process_is_used_up(
    asked: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading_process, "_MOST", 2)
    assert numbers(asked("", "", "", "", "")) == [1, 1, 2, 2, 3]


def test_a_crash_takes_its_own_load_only(asked: Callable[..., list[Any]]) -> None:
    first, crashed, last = asked("", "crash", "")
    assert crashed == (b"", 3 << 8)
    assert numbers([first, last]) == [1, 2]


def test_a_load_that_hangs_is_ended(asked: Callable[..., list[Any]]) -> None:
    first, hung, last = asked("", "hang", "")
    assert hung == (None, 9)
    assert numbers([first, last]) == [1, 2]


def test_a_failure_ends_the_process(asked: Callable[..., list[Any]]) -> None:
    first, failed, last = asked("", "fail", "")
    assert failed == {"kind": "exception"}
    assert numbers([first, last]) == [1, 2]
