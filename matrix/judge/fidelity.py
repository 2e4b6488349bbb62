"""Fidelity: comparison of the cpu lane's evidence with what has the real compiled extension.

The cpu lane replaces the compiled extension. The form of checkpoints and the outcome of
loads must be the same on a GPU. Values are not compared, as the cpu lane writes fixed ones; but
where it ran on compiled extensions, it wrote the same ones, and they are.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from matrix.catalogue.state_keys import EXTRA_STATE
from matrix.catalogue.words import Lane
from matrix.judge import outcomes
from matrix.store.keys import digest_of
from matrix.store.records import Load, Part, Save

VALUES = "values of the metadata"
"""Name of the fact that only the cpu lane has."""


@dataclasses.dataclass(frozen=True, order=True)
class Difference:
    """One fact that differs."""

    where: str
    """A save, e.g. ``autocast/2.9``, or a cell, e.g. ``autocast/plain/2.9->2.17``."""
    what: str
    """Name of the fact, e.g. ``payload of core_attention._extra_state``."""
    cpu: str
    """The fact in the cpu lane."""
    device: str
    """The fact on the GPU, or on the compiled extension."""


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """Result of the comparison."""

    compared: tuple[str, ...]
    """Saves and cells with evidence from both sides."""
    device_only: tuple[str, ...]
    """Saves and cells without evidence from the stand-in."""
    differences: tuple[Difference, ...]
    """The facts that differ."""


class ScenarioFacts:
    """Evidence of one lane on one scenario at one size.

    :param scenario: name of the scenario.
    :param digest: digest of the scenario at its size.
    """

    def __init__(self, scenario: str, digest: str) -> None:
        self.scenario = scenario
        self.digest = digest
        self._saves: list[Save] = []
        self._loads: list[Load] = []

    def add(self, record: Save | Load) -> None:
        """Add a record."""
        if isinstance(record, Save):
            self._saves.append(record)
        else:
            self._loads.append(record)

    def observations(self) -> Iterator[tuple[str, Save, Load | None]]:
        """Yield each save and each cell: its name, the save, and of a cell the load.

        A load counts for all savers that wrote the same state.
        """
        by_state: dict[str, list[Save]] = defaultdict(list)
        for save in self._saves:
            by_state[save.state_digest].append(save)
            yield f"{self.scenario}/{save.release}", save, None
        for load in self._loads:
            for save in by_state[load.state_digest]:
                cell = f"{self.scenario}/{load.variant}/{save.release}->{load.release}"
                yield cell, save, load

    def facts(self) -> dict[str, dict[str, str]]:
        """Return the facts on each save and cell, by its name and the fact's name."""
        return {
            name: facts(save, load) | _values(load or save)
            for name, save, load in self.observations()
        }


def on_the_standin(record: Save | Load) -> bool:
    """Return whether a record is of the cpu lane with the stand-in."""
    return record.lane == Lane.CPU and record.provenance.binding is None


def on_a_device(record: Save | Load) -> bool:
    """Return whether a record is of a GPU."""
    return record.lane == Lane.GPU


def on_the_binding(record: Save | Load) -> bool:
    """Return whether a record is of the cpu lane with the release's own compiled extension."""
    return record.lane == Lane.CPU and record.provenance.binding is not None


def by_scenario(
    records: Iterable[Save | Load], wanted: Callable[[Save | Load], bool]
) -> list[ScenarioFacts]:
    """Return the wanted evidence by scenario and size."""
    found: dict[tuple[str, str], ScenarioFacts] = {}
    for record in filter(wanted, records):
        place = record.scenario, record.scenario_digest
        found.setdefault(place, ScenarioFacts(*place)).add(record)
    return [found[place] for place in sorted(found)]


def compare(cpu: list[ScenarioFacts], device: list[ScenarioFacts]) -> Fidelity:
    """Compare the facts on all saves and cells that both sides have evidence on.

    A scenario is compared at the same size where the cpu lane has it, else at another one,
    as no fact depends on the size.
    """
    compared: list[str] = []
    only: list[str] = []
    differences: list[Difference] = []
    for there in device:
        known = _counterpart(there, cpu)
        several = sum(other.scenario == there.scenario for other in device) > 1
        mark = f" (scenario {there.digest[:8]})" if several else ""
        for name, facts in sorted(there.facts().items()):
            if name not in known:
                only.append(name + mark)
                continue
            compared.append(name + mark)
            differences += [Difference(name + mark, *what) for what in _unequal(known[name], facts)]
    return Fidelity(tuple(compared), tuple(only), tuple(differences))


def _counterpart(there: ScenarioFacts, cpu: list[ScenarioFacts]) -> dict[str, dict[str, str]]:
    alike = [here for here in cpu if here.scenario == there.scenario]
    alike.sort(key=lambda here: here.digest != there.digest)
    return alike[0].facts() if alike else {}


def _unequal(cpu: dict[str, str], device: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    for what in {**cpu, **device}:
        if what == VALUES and what not in device:
            continue
        one, other = cpu.get(what, "nothing"), device.get(what, "nothing")
        if one != other:
            yield what, one, other


def facts(save: Save, load: Load | None) -> dict[str, str]:
    """Return the facts on a save, or on a load of it, by their names; no values of metadata."""
    return _of_load(save, load) if load else _of_save(save)


def _values(record: Save | Load) -> dict[str, str]:
    """Return the fact on the values of metadata, which the cpu lane alone fixes."""
    if on_a_device(record):
        return {}
    return {VALUES: digest_of([part.model_dump(mode="json") for part in record.parts])[:12]}


def _of_save(save: Save) -> dict[str, str]:
    """Return facts on a checkpoint: its keys, the form of each entry and of the metadata."""
    facts = {"keys": ", ".join(sorted(save.keys))}
    for key, entry in save.keys.items():
        if key.endswith(EXTRA_STATE):
            fields = f" of {', '.join(entry.fields)}" if entry.fields is not None else ""
            facts[f"payload of {key}"] = entry.kind + fields
        else:
            facts[f"dtype of {key}"] = str(entry.dtype)
    return facts | _tensors(save.parts)


def _of_load(save: Save, load: Load) -> dict[str, str]:
    """Return facts on a load: outcome, after_load, stage, error, keys, metadata."""
    result = outcomes.result(save, load)
    return {
        "outcome": result.outcome.value,
        "stage": load.stage.value,
        "error": load.error.type if load.error else "none",
        "after_load": result.after_load.value,
        "rest": result.rest_state.value,
        "weights": result.weights.value if result.weights else "none",
        "missing keys": ", ".join(load.missing_keys),
        "unexpected keys": ", ".join(load.unexpected_keys),
        **_tensors(load.parts),
    }


def _tensors(parts: tuple[Part, ...]) -> dict[str, str]:
    return {
        f"{name} of {part.path}": f"{tensor.dtype} {list(tensor.shape)}"
        for part in parts
        for name, tensor in part.tensors.items()
    }
