"""Replaces the recorded evidence by that of a live run of the whole catalogue."""

from __future__ import annotations

import datetime

from matrix.catalogue import faq
from matrix.doctor import describing, likes
from matrix.doctor.symptoms import seen
from matrix.errors import SourceUnavailable
from matrix.judge import judge, ledger
from matrix.plan.evidence_index import EvidenceIndex, Kept, Known, pairs
from matrix.store import recorded
from matrix.store.records import Load, Save
from matrix.store.store import Store


def refresh(index: EvidenceIndex, store: Store, today: datetime.date) -> int:
    """Replace the recorded evidence of a lane, in ``fixtures/``, by live evidence.

    The kinds of extra states that the saves hold are written beside it.

    :param index: the live evidence on the whole catalogue.
    :param store: the store with its checkpoints.
    :param today: the date to record.
    :returns: the number of records.
    :raises SourceUnavailable: a save or a load of the plan was not run live.
    """
    plan = index.plan
    saves: dict[str, Save] = {}
    loads: dict[str, Load] = {}
    checkpoints: dict[str, bytes] = {}
    for scenario in plan.scenarios:
        for release in plan.saves(scenario):
            save = _live(index.save(scenario, release), f"the save of {release.name}, {scenario}")
            saves[index.save_key(scenario, release)] = save
            if release.wheel is None or release.name in recorded.RECORDED_FROM_INDEX:
                if save.file_digest is None:
                    continue
                data = store.checkpoint(save.file_digest)
                assert data is not None
                checkpoints[save.file_digest] = data
    for cell in pairs(plan):
        saver, loader = plan.releases[cell.saved_by], plan.releases[cell.loaded_by]
        saved = saves[index.save_key(cell.scenario, saver)]
        if saved.file_digest is None:
            continue  # a save that raised has nothing to load
        load = _live(index.load(cell.scenario, cell.variant, saved, loader), cell.id)
        loads[load.key] = load
    records: list[Save | Load] = [*saves.values(), *loads.values()]
    count = recorded.refresh(plan.lane, records, checkpoints, today.isoformat())
    likes.write(plan.lane, describing.describe(saves.values(), store.checkpoint))
    # What is derived from the evidence, so that an error is explained without judging it all.
    seen.write(plan.lane, seen.of(judge.judge(index, faq.load(), ledger.load(), today)))
    return count


def _live(known: Known[Kept] | None, what: str) -> Kept:
    if known is None or known.conflict:
        raise SourceUnavailable(
            f"{what} was not run live",
            why="recorded evidence is replaced whole, and only by a complete live run",
            do="Make the git repository reachable (--git-url) and run again",
        )
    return known.records[0]
