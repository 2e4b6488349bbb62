"""Rule: every part, the weights and the save count, each with a word of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from helpers.builders import a_load, a_save, part
from matrix.catalogue.words import Deviation, Outcome, RestState, SaveOutcome, Weights
from matrix.judge import outcomes
from matrix.judge.outcomes import LoadResult
from matrix.plan.cells import Plan
from matrix.store.records import Moved, Part, Save

MakePlan = Callable[..., Plan]


def linear(digest: str = "canary", *, default: bool = False, name: str = "qkv") -> Part:
    return part(digest, default=default, name=name).model_copy(update={"attention": False})


def moved(*names: str, frozen: tuple[str, ...] = ()) -> tuple[Moved, ...]:
    return tuple(Moved(path=n, name=n, moved={"forward.scale": n not in frozen}) for n in names)


@pytest.fixture
def result(make_plan: MakePlan) -> Callable[..., LoadResult]:
    """Return what became of a load in which the linear fares as it is told."""

    def make(after: Part | None, *, save: dict[str, Any] | None = None, **load: Any) -> LoadResult:
        plan = make_plan(["1.8"], ["1.11"])
        saved: Save = a_save(plan, "1.8").model_copy(
            update={"parts": (part("canary"), linear()), **(save or {})}
        )
        found = tuple(filter(None, (part("canary"), after)))
        load = {"parts": found, "after_load": moved("core_attention", "qkv"), **load}
        return outcomes.result(saved, a_load(plan, saved, "1.11", **load))

    return make


def test_what_is_whole_differs_in_nothing(result: Callable[..., LoadResult]) -> None:
    found = result(linear())
    assert (found.outcome, found.rest, found.weights) == ("loaded", "loaded", "equal")
    assert found.deviations(Outcome.LOADED) == []


@pytest.mark.parametrize(
    ("after", "rest"),
    [(linear("another"), "partial"), (linear(default=True), "defaults"), (None, "none")],
)
def test_a_part_that_lost_its_state_is_a_deviation(
    result: Callable[..., LoadResult], after: Part | None, rest: str
) -> None:
    found = result(after)
    assert (found.outcome, found.rest, found.rest_state) == ("loaded", rest, RestState.LOST)
    assert found.deviations(Outcome.LOADED) == [Deviation.REST]


def test_a_part_for_which_nothing_was_held_loses_nothing(result: Callable[..., LoadResult]) -> None:
    empty = (part("canary"), linear(default=True))
    found = result(linear(default=True), save={"parts": empty})
    assert (found.rest, found.rest_state) == (None, RestState.NONE)
    assert found.deviations(Outcome.LOADED) == []


def test_a_part_that_is_frozen_alone_is_a_deviation(result: Callable[..., LoadResult]) -> None:
    frozen = moved("core_attention", "qkv", frozen=("qkv",))
    found = result(linear(), after_load=frozen)
    assert (found.after_load, found.rest_after_load) == ("updates", "frozen")
    assert found.deviations(Outcome.LOADED) == [Deviation.REST_FROZEN]


def test_where_all_is_frozen_one_word_says_it(result: Callable[..., LoadResult]) -> None:
    names = ("core_attention", "qkv")
    found = result(linear(), after_load=moved(*names, frozen=names))
    assert found.deviations(Outcome.LOADED) == [Deviation.FROZEN]


def test_changed_weights_make_a_load_partial_whatever_else_it_is(
    result: Callable[..., LoadResult],
) -> None:
    found = result(linear(), changed_weights=("qkv.weight",))
    assert (found.outcome, found.weights) == ("partial", Weights.CHANGED)
    assert found.flaws == ("qkv.weight is not the checkpoint's",)
    assert found.deviations(Outcome.LOADED) == [Deviation.WEIGHTS]


def test_a_resized_history_is_loaded(result: Callable[..., LoadResult]) -> None:
    one = part("another")
    tensors = {n: t.model_copy(update={"resized": True}) for n, t in one.tensors.items()}
    found = result(linear(), parts=(one.model_copy(update={"tensors": tensors}), linear()))
    assert (found.outcome, found.resized) == ("loaded", True)
    assert found.deviations(Outcome.LOADED) == []


def test_a_spoilt_save_is_a_deviation_of_what_loads_it(result: Callable[..., LoadResult]) -> None:
    found = result(linear(), save={"outcome": SaveOutcome.SPOILT})
    assert found.deviations(Outcome.LOADED) == [Deviation.SPOILT]


def test_parts_that_fare_differently_make_the_whole_partial(make_plan: MakePlan) -> None:
    plan = make_plan(["1.8"], ["1.11"])
    names = ("0.core_attention", "1.core_attention")
    save = a_save(plan, "1.8").model_copy(
        update={"parts": tuple(part("canary", name=name) for name in names)}
    )
    parts = (part("canary", name=names[0]), part("canary", default=True, name=names[1]))
    found = outcomes.result(save, a_load(plan, save, "1.11", parts=parts))
    assert found.outcome == "partial"
    assert found.flaws == ("0.core_attention: loaded", "1.core_attention: defaults")


def test_without_attention_the_module_is_judged_as_a_whole(make_plan: MakePlan) -> None:
    plan = make_plan(["1.8"], ["1.11"])
    two = (linear(), linear(name="mlp"))
    save = a_save(plan, "1.8").model_copy(update={"parts": two})
    after = (linear(), linear(default=True, name="mlp"))
    load = a_load(plan, save, "1.11", parts=after, after_load=moved("qkv", "mlp", frozen=("mlp",)))
    whole = outcomes.result(save, load, attends=False)
    assert (whole.outcome, whole.after_load, whole.rest) == ("partial", "frozen", None)
    assert whole.flaws == ("qkv: loaded", "mlp: defaults")
    attention = outcomes.result(save, load)
    assert (attention.outcome, attention.rest) == ("none", "partial")


def test_a_loader_without_the_recipe_has_no_part_to_judge(make_plan: MakePlan) -> None:
    plan = make_plan(["1.8"], ["1.11"])
    save = a_save(plan, "1.8").model_copy(update={"parts": (part("canary"), linear())})
    load = a_load(plan, save, "1.11", parts=(), after_load=None, stage="load_state_dict")
    found = outcomes.result(save, load)
    assert (found.outcome, found.rest, found.weights) == ("none", None, "equal")
    changed = load.model_copy(update={"changed_weights": ("qkv.weight",)})
    assert outcomes.result(save, changed).outcome == "partial"
