"""Holds what ``inspect`` says against what the matrix recorded, cell by cell."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from matrix.catalogue import features, releases, scenarios
from matrix.catalogue.scenarios import SizedScenario, class_of
from matrix.catalogue.words import AfterLoad, Lane, Outcome, RunnerName
from matrix.checkpoint import layout
from matrix.doctor import Assumed, Inspection, LoadStatus, writers
from matrix.doctor.predictions import Predictor
from matrix.doctor.sightings import history_of
from matrix.judge import outcomes
from matrix.plan.cells import Plan
from matrix.plan.evidence_index import EvidenceIndex
from matrix.store import recorded
from matrix.store.records import Load, Save

UNSURE = (LoadStatus.UNKNOWN, LoadStatus.DEPENDS)


@functools.cache
def evidence() -> EvidenceIndex:
    """The recorded evidence on every save and load of the packaged scenarios."""
    known = releases.load().releases
    plan = Plan(
        lane=Lane.CPU,
        runner=RunnerName.LOCAL,
        scenarios=scenarios.load(),
        variants=scenarios.variants(),
        savers=known,
        loaders=known,
        cells=(),
        whole=False,
        controlled=(),
    )
    return EvidenceIndex(plan, None, recorded.evidence(Lane.CPU))


def save_of(scenario: str, release: str) -> Save | None:
    known = evidence().save(scenario, releases.load()[release])
    return known.records[0] if known else None


def load_of(save: Save, loader: str) -> Load | None:
    known = evidence().load(save.scenario, "plain", save, releases.load()[loader])
    return known.records[0] if known else None


def expected(sized: SizedScenario, save: Save, load: Load, *, held: bool = True) -> LoadStatus:
    """What a release does with its file, by the record of the load alone.

    :param held: whether the states hold metadata that a reset would lose.
    """
    if load.error:
        return LoadStatus.FAILS
    result = outcomes.result(save, load, attends=sized.attends)
    lost = any(
        part.flaws or (held and part.held and part.outcome in (Outcome.DEFAULTS, Outcome.NONE))
        for part in result.parts
    )
    if lost or load.changed_weights:
        return LoadStatus.RESETS
    frozen = any(part.after_load == AfterLoad.FROZEN for part in result.parts)
    return LoadStatus.FROZEN if frozen else LoadStatus.LOADS


def check_against_the_matrix(report: Inspection, saver: str, scenario: str) -> None:
    """Hold a report on a file like a recorded save against every load of that save."""
    save = save_of(scenario, saver)
    assert save is not None and len(report.targets) == len(releases.load().releases)
    for target in report.targets:
        load = load_of(save, target.release)
        assert load is not None
        found = expected(scenarios.load()[scenario], save, load)
        # PyTorch refuses some distributed checkpoints unless they are read whole.
        refused, _, whole = target.detail.partition("read whole, it ")
        if whole:
            assert refused and target.status == LoadStatus.FAILS
        assert (whole or target.status).startswith(found), target
        if load.error and not (load.missing_keys or load.unexpected_keys):
            assert " ".join(load.error.message.split()) in target.detail
        elif load.error:
            assert load.error.type in target.detail and "key(s) in state_dict" in target.detail


@dataclasses.dataclass
class Agreement:
    """How far predictions for recorded saves agree with the recorded loads of them."""

    agreed: int = 0
    unsure: Counter[str] = dataclasses.field(default_factory=Counter)
    """Cells that are not told, by why."""
    untold: Counter[str] = dataclasses.field(default_factory=Counter)
    """Cells in which the model is another than the file tells, by how; see ``untold``."""
    wrong: list[str] = dataclasses.field(default_factory=list)
    """Cells in which another outcome was predicted than was recorded."""
    savers: list[str] = dataclasses.field(default_factory=list)
    """Saves of which the saver is not among those named."""


def plain(sized: SizedScenario) -> bool:
    """Whether a scenario saves and loads as a user does who says nothing else."""
    transport = sized.scenario.transport
    return transport.strict and not (transport.distributed or transport.weights_only)


def agreement(saves: Iterable[Save], checkpoint: Callable[[str], bytes | None]) -> Agreement:
    """Predict every load of saves, and hold the predictions against the records.

    The recipe to load with is that of each save's scenario.
    """
    found = Agreement()
    with tempfile.TemporaryDirectory() as folder:
        for save in saves:
            sized = scenarios.load()[save.scenario]
            if plain(sized) and save.file_digest and (data := checkpoint(save.file_digest)):
                file = Path(folder) / "model.pt"
                file.write_bytes(data)
                _check(found, sized, save, file)
    return found


def _check(found: Agreement, sized: SizedScenario, save: Save, file: Path) -> None:
    contents = layout.find(file).read()
    known = releases.load()
    wrote = writers.find(contents, known, None).releases
    if contents.states and save.release not in [release.name for release in wrote]:
        found.savers.append(f"{save.scenario} of {save.release}")
    saved, loads = (class_of(r) for r in (sized.scenario.save_recipe, sized.scenario.load_recipe))
    assumed = Assumed(loads if loads != saved else None, history_of(sized.scenario.load_recipe))
    predictor = Predictor(contents, wrote, None, assumed)
    for target in map(predictor.as_it_is, known.releases):
        load = load_of(save, target.release)
        if load is None:
            continue
        seen = expected(sized, save, load)
        cell = f"{save.scenario}: {save.release} -> {target.release}"
        if target.status in UNSURE:
            found.unsure[_why(target.detail)] += 1
        elif target.status == seen:
            found.agreed += 1
        elif how := untold(sized, save, target.detail):
            found.untold[how] += 1
        else:
            found.wrong.append(f"{cell}: {target.status}, not {seen}: {target.detail}")


def _why(detail: str) -> str:
    reasons = {
        "it holds no extra states": "no states",
        "this release lacks the recipe": "no recipe",
        "saved by": "saver",
        "as DotProductAttention": "module",
    }
    return next((why for start, why in reasons.items() if detail.startswith(start)), detail)


def untold(sized: SizedScenario, save: Save, detail: str) -> str:
    """How a scenario's model differs from what its file tells; empty where it does not."""
    saver = releases.load()[save.release]
    attention = features.load().modules["DotProductAttention"]
    renamed = sized.scenario.attention != "core_attention"
    if renamed and not attention.has_state(saver) and "under another name" in detail:
        # What the model calls its attention is nowhere in a file without states of attention.
        return "the name of the attention"
    quantized = any(entry.kind == "Float8Tensor" for entry in save.keys.values())
    if sized.scenario.weights == "fp8" and not quantized:
        return "weights that the release saves in high precision, and the model quantizes"
    return ""
