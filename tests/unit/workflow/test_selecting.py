"""Rule: evidence of the cpu lane on compiled extensions is kept apart, and made here only."""

from __future__ import annotations

import pytest

from matrix.catalogue.selection import Selection
from matrix.catalogue.words import Lane, RunnerName
from matrix.errors import UsageError
from matrix.plan.evidence_index import EvidenceIndex
from matrix.workflow.selecting import Request, select

ONE = Selection(releases="1.11")


def test_its_keys_are_others() -> None:
    standin = select(Request(ONE)).plan
    compiled = select(Request(ONE.model_copy(update={"binding": "folder"}))).plan
    (release,) = standin.savers
    keys = {
        EvidenceIndex(plan, None, None).save_key("autocast", release)
        for plan in (standin, compiled)
    }
    assert len(keys) == 2
    assert (standin.lane, compiled.lane) == (Lane.CPU, Lane.CPU)
    assert compiled.real_binding


@pytest.mark.parametrize(
    ("lane", "runner"), [(None, RunnerName.DOCKER), (Lane.CPU, RunnerName.DOCKER)]
)
def test_it_is_for_the_cpu_lane_on_this_machine(lane: Lane | None, runner: RunnerName) -> None:
    chosen = ONE.model_copy(update={"binding": "folder", "lane": lane, "runner": runner})
    with pytest.raises(UsageError, match="--binding is for the cpu lane on this machine"):
        select(Request(chosen))
