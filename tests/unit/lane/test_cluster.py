"""Rule: on a cluster only infra is tried again, with every attempt kept, and nothing doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dask.utils import key_split

from helpers.builders import a_load, a_save
from matrix.catalogue.words import Lane, RunnerName
from matrix.errors import EngineError, ExitCode, StoreError
from matrix.lane.cluster import tasks
from matrix.lane.cluster.executor import DaskExecutor
from matrix.lane.cluster.tasks import RETRIES, TaskGraph
from matrix.lane.cluster.worker import ClusterWorker
from matrix.lane.execution import execute
from matrix.lane.run import Run, RunOptions
from matrix.plan.cells import CONTROLS, Plan
from matrix.store import keys
from matrix.store.records import Attempt
from matrix.store.store import Store

MakePlan = Callable[..., Plan]
NAMES = ["1.11", "2.3"]


class Future:
    def __init__(self, key: str, outcome: Any) -> None:
        self.key = key
        self.status = "error" if isinstance(outcome, BaseException) else "finished"
        if outcome is None:
            self.status = "cancelled"
        self._outcome = outcome

    def result(self) -> Any:
        return self._outcome

    def exception(self) -> Any:
        return self._outcome

    def add_done_callback(self, call: Callable[[Any], None]) -> None:
        call(self)


class Cluster:
    """A client whose workers do as ``answer`` says, at once.

    :param lost: addresses of workers that are lost right after they began something.
    """

    def __init__(self, answer: Callable[..., Any]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = []
        self.offered: dict[str, float] = {}
        self.lost: list[str] = []
        self.handlers: dict[str, Callable[[Any], None]] = {}
        self.plugins: list[str] = []

    def register_plugin(self, plugin: ClusterWorker) -> None:
        self.plugins.append(plugin.name)

    def unregister_worker_plugin(self, name: str) -> None:
        self.plugins.remove(name)

    def subscribe_topic(self, topic: str, handler: Callable[[Any], None]) -> None:
        self.handlers[topic] = handler

    def unsubscribe_topic(self, topic: str) -> None:
        del self.handlers[topic]

    def cancel(self, _futures: Any) -> None:
        pass

    def nthreads(self) -> dict[str, int]:
        return {"tcp://one": 1}

    def scheduler_info(self, n_workers: int) -> Any:
        return {"workers": {"tcp://one": {"resources": self.offered}}}

    def submit(self, _task: Any, run: str, key: str, /, *what: Any, **options: Any) -> Future:
        assert options["key"] == key
        self.asked.append((key, options, what))
        while self.lost:
            self.handlers[run]((0.0, {"began": key, "worker": "tcp://one"}))
            self.handlers["all"]((0.0, {"action": "remove-worker", "worker": self.lost.pop()}))
        return Future(key, self.answer(*what))


@pytest.fixture
def made(make_plan: MakePlan) -> Plan:
    return make_plan(NAMES, NAMES)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


class Nowhere:
    def get(self, _release: Any) -> None:
        return None


def a_run(made: Plan, store: Store) -> Run:
    return Run(made, store, Nowhere(), RunOptions(jobs=1), None)


def run(made: Plan, store: Store, answer: Callable[..., Any], **more: Any) -> tuple[Run, Cluster]:
    cluster = Cluster(answer)
    for name, value in more.items():
        setattr(cluster, name, value)
    running = a_run(made, store)
    execute(running, DaskExecutor(cluster, lambda: pytest.fail("nothing is opened here")))
    assert cluster.plugins == []
    assert cluster.handlers == {}
    return running, cluster


def answers(made: Plan, **states: str) -> Callable[..., Any]:
    """Saves and loads that go well; savers may share a state."""

    def answer(release: str, what: Any, saved: Any = None) -> Any:
        if saved is None:
            save = a_save(made, release)
            return save.model_copy(update={"state_digest": states.get(release, release)})
        save = saved.result() if isinstance(saved, Future) else saved
        return a_load(made, save, release, what.variant)

    return answer


LOADS = 12
"""Four cells, and for each of two loaders the controls that are no cell."""


def test_every_load_follows_its_save_and_depends_on_it(made: Plan, store: Store) -> None:
    running, cluster = run(made, store, answers(made))
    saves, loads = cluster.asked[:2], cluster.asked[2:]
    assert {what[0] for _key, _options, what in saves} == set(NAMES)
    assert len(loads) == LOADS == 4 + 2 * (len(CONTROLS) - 1)
    assert all(isinstance(what[2], Future) for _key, _options, what in loads)
    assert (running.measured, running.exit_code) == (2 + LOADS, ExitCode.OK)


def test_the_very_same_state_is_loaded_once(made: Plan, store: Store) -> None:
    same = dict.fromkeys(NAMES, "same")
    _running, cluster = run(made, store, answers(made, **same))
    loads = Counter(
        (what[1].variant, what[0]) for _key, _o, what in cluster.asked if len(what) == 3
    )
    assert loads["plain", "1.11"] == loads["plain", "2.3"] == 1


def failing(made: Plan, kind: Any, times: int) -> tuple[Callable[..., Any], list[str]]:
    """Have one load come to nothing so many times."""
    well, tried = answers(made), list[str]()

    def answer(release: str, what: Any, saved: Any = None) -> Any:
        hit = saved is not None and what.id == "autocast/plain/1.11->2.3"
        if hit and len(tried) < times:
            tried.append(what.id)
            if isinstance(kind, BaseException):
                return kind
            return Attempt(key="k", kind=kind, message="no", at="now")
        return well(release, what, saved)

    return answer, tried


def test_infra_is_tried_again_and_then_forgotten(made: Plan, store: Store) -> None:
    answer, tried = failing(made, "infra", RETRIES)
    running, cluster = run(made, store, answer)
    assert len(tried) == RETRIES
    assert running.exit_code == ExitCode.OK
    keys = [key for key, _options, _what in cluster.asked]
    assert len(keys) == len(set(keys)) == 2 + LOADS + RETRIES


def test_infra_that_stays_is_infra(made: Plan, store: Store) -> None:
    answer, tried = failing(made, "infra", 99)
    running, _cluster = run(made, store, answer)
    assert len(tried) == RETRIES + 1
    assert running.exit_code == ExitCode.INFRA


def test_what_is_not_emulated_is_not_tried_again(made: Plan, store: Store) -> None:
    answer, tried = failing(made, "gap", 99)
    running, _cluster = run(made, store, answer)
    assert len(tried) == 1
    assert running.exit_code == ExitCode.INCOMPLETE


def test_what_dask_fails_at_is_kept_as_an_attempt(made: Plan, store: Store) -> None:
    answer, _tried = failing(made, RuntimeError("killed four times"), 99)
    run(made, store, answer)
    ((key, attempts),) = store.attempts().items()
    releases, recipe = made.releases, made.scenarios["autocast"]
    assert key == keys.attempt_key(
        releases["1.11"].digest, releases["2.3"].digest, recipe.digest, "plain", "cpu"
    )
    assert [a.message for a in attempts] == ["RuntimeError: killed four times"] * (RETRIES + 1)


def test_a_lost_worker_costs_what_it_was_at(made: Plan, store: Store) -> None:
    running, _cluster = run(made, store, answers(made), lost=["tcp://one"])
    ((attempt,),) = store.attempts().values()
    assert attempt.message == "worker tcp://one was lost while it was at this"
    assert running.exit_code == ExitCode.OK


@pytest.mark.parametrize(
    ("outcome", "error"), [(StoreError("full"), StoreError), (None, EngineError)]
)
def test_what_cannot_be_kept_or_is_forgotten_ends_the_run(
    made: Plan, store: Store, outcome: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        run(made, store, lambda *_what: outcome)


def test_workers_are_chosen_by_what_they_offer(make_plan: MakePlan, store: Store) -> None:
    gpu = make_plan(NAMES, NAMES, lane=Lane.GPU, runner=RunnerName.DOCKER)
    _running, cluster = run(gpu, store, answers(gpu), offered={"GPU": 1, "image-2.3": 1})
    for _key, options, what in cluster.asked:
        assert options["resources"] == {"GPU": 1.0, f"image-{what[0]}": 1.0}
    graph = TaskGraph(cluster, a_run(gpu, store), "run", {})
    task = tasks.Task(gpu.releases["1.11"], "autocast")
    graph._submitted = {"k": (task, None)}
    assert "no worker offers image-1.11" in graph.waiting_reason()


def test_the_dashboard_shows_cells_by_name(made: Plan, store: Store) -> None:
    _running, cluster = run(made, store, answers(made))
    shown = {key_split(key) for key, _options, _what in cluster.asked}
    assert "autocast/plain/1.11→2.3" in shown
    assert "autocast/save/1.11" in shown
    cell = made.cells[0]
    named = tasks.Task(made.releases["1.11"], "fp8-weights", cell)
    assert key_split(f"{named.label}-0-te-matrix-1") == named.label
