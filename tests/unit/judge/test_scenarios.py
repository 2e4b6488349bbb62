"""Rule: the FAQ judges the delayed-scaling state of attention, wherever it sits, and no more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.builders import TODAY, a_load, a_save
from matrix.catalogue.faq import Documentation
from matrix.catalogue.scenarios import SizedScenario
from matrix.judge import judge
from matrix.judge.judgement import Judgement
from matrix.plan.cells import Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store.store import Store

Judge = Callable[..., Judgement]


@pytest.fixture
def judged(tmp_path: Path, make_plan: Callable[..., Plan], documentation: Documentation) -> Judge:
    """Judge what 1.11 loads of 1.8, in a scenario like autocast but for some fields."""

    def make(*, path: str = "core_attention", **fields: Any) -> Judgement:
        plan = make_plan(["1.8"], ["1.11"])
        like = plan.scenarios["autocast"]
        changed = SizedScenario(like.scenario.model_copy(update=fields), like.size)
        plan = dataclasses.replace(plan, scenarios={"autocast": changed}, controlled=())
        store = Store(tmp_path / "store")
        store.prepare()
        save = a_save(plan, "1.8", path=path)
        for record in (save, a_load(plan, save, "1.11", default=True)):
            store.add(record)
        return judge.judge(EvidenceIndex(plan, store, None), documentation, (), TODAY)

    return make


@pytest.mark.parametrize(
    "fields",
    [{}, {"module": "TransformerLayer"}, {"module": "DotProductAttention"}, {"state": "attention"}],
)
def test_attention_is_judged_by_the_faq(judged: Judge, fields: dict[str, Any]) -> None:
    (verdict,) = judged(**fields).verdicts
    assert (verdict.documented.outcome, verdict.verdict) == ("loaded", "deviates")


@pytest.mark.parametrize(
    "fields",
    [
        {"module": "Linear"},
        {"state": "none"},
        {"state": "linears"},
        {"load_recipe": {"class": "Float8CurrentScaling"}},
    ],
)
def test_the_rest_is_undocumented(judged: Judge, fields: dict[str, Any]) -> None:
    found = judged(**fields)
    (verdict,) = found.verdicts
    assert verdict.verdict == "undocumented"
    (save,) = found.saves
    assert (save.documented, save.conforms) == ("undocumented", True)


@pytest.mark.parametrize(
    ("fields", "path", "documented"),
    [
        ({}, "core_attention", "core_attention._extra_state"),
        ({"attention": "self_attn"}, "self_attn", "self_attn._extra_state"),
        ({"module": "TransformerLayer"}, "self_attention.core_attention", "core_attention"),
    ],
)
def test_the_key_of_a_save_is_that_of_the_module(
    judged: Judge, fields: dict[str, Any], path: str, documented: str
) -> None:
    (save,) = judged(path=path, **fields).saves
    assert save.documented.startswith(documented)
    assert save.conforms
    assert save.observed == f"{path}._extra_state"
