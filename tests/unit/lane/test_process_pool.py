"""Rule: a thread keeps the process that it had, and a release gets no more than it needs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from matrix.catalogue import releases, scenarios
from matrix.lane.process_pool import ProcessPool

KNOWN = releases.load()
SIZED = scenarios.load()["autocast"]


class Process:
    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    def enter(self, *_arguments: object) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Runner:
    """Opens processes that do nothing, and counts them."""

    def __init__(self) -> None:
        self.opened: list[Process] = []

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def open(self, release: Any, _source: Path, _lane: str) -> Process:
        self.opened.append(Process(release.name))
        return self.opened[-1]


def a_pool(runner: Runner, **options: Any) -> ProcessPool:
    plan = SimpleNamespace(releases={r.name: r for r in KNOWN.releases}, lane="cpu")
    sources = SimpleNamespace(get=lambda _release: Path("source"))
    return ProcessPool(plan, sources, runner, 1.0, **options)  # type: ignore[arg-type]


def use(pool: ProcessPool, name: str) -> Any:
    with pool.reserved(KNOWN[name]):
        return pool.start(KNOWN[name], SIZED, enter=True)


def test_one_thread_has_one_process() -> None:
    runner = Runner()
    with a_pool(runner, copies=2) as pool:
        assert len({id(use(pool, "2.4")) for _turn in range(5)}) == 1
        use(pool, "2.5")
        use(pool, "2.4")
    assert [process.name for process in runner.opened] == ["2.4", "2.5"]
    assert all(process.closed for process in runner.opened)


def test_each_of_two_threads_keeps_its_own() -> None:
    runner, together = Runner(), threading.Barrier(2)

    def work(pool: ProcessPool) -> set[int]:
        seen = set()
        for _turn in range(20):
            with pool.reserved(KNOWN["2.4"]):
                together.wait(10)
                seen.add(id(pool.start(KNOWN["2.4"], SIZED, enter=True)))
        return seen

    with a_pool(runner, copies=2) as pool, ThreadPoolExecutor(2) as threads:
        first, second = threads.map(work, [pool, pool])
    assert len(first) == len(second) == 1 and first != second
    assert len(runner.opened) == 2


def test_a_third_waits_for_one_of_two() -> None:
    runner = Runner()
    with a_pool(runner, copies=2) as pool, ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _turn: use(pool, "2.4"), range(50)))
    assert len(runner.opened) <= 2


def test_room_is_made_by_ending_the_one_that_was_used_longest_ago() -> None:
    runner = Runner()
    with a_pool(runner, most=2) as pool:
        for name in ("2.3", "2.4", "2.3", "2.5"):
            use(pool, name)
        assert [(process.name, process.closed) for process in runner.opened] == [
            ("2.3", False),
            ("2.4", True),
            ("2.5", False),
        ]


def test_no_process_is_ended_that_a_thread_has_reserved() -> None:
    runner = Runner()
    with a_pool(runner, most=1) as pool, pool.reserved(KNOWN["2.3"]):
        held = pool.start(KNOWN["2.3"], SIZED, enter=True)
        with ThreadPoolExecutor(1) as threads:
            threads.submit(use, pool, "2.4").result()
        assert not held.closed  # type: ignore[attr-defined]
