"""Comparison of evidence that was obtained under several versions of PyTorch.

Which PyTorch it was is provenance: it is no part of what was observed, nor of what was asked.
Every save and every cell is therefore expected to be the same under all of them, values included.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator

from matrix.catalogue import releases
from matrix.judge import fidelity
from matrix.plan.cells import CONTROL
from matrix.store.records import Load, Save

VALUES = "values of the metadata"
"""Name of the fact that is compared where all others are equal."""

Facts = dict[str, str]


@dataclasses.dataclass(frozen=True)
class TorchDifference:
    """One fact that is not the same under all versions of PyTorch."""

    where: str
    """A save, e.g. ``autocast/2.9``, or a cell, e.g. ``autocast/plain/2.9->2.17``."""
    what: str
    """Name of the fact: ``outcome``, ``stage``, ``error``, ``after_load`` or another."""
    seen: dict[str, str]
    """The fact by version of PyTorch."""


@dataclasses.dataclass(frozen=True)
class Coverage:
    """What was observed under one version of PyTorch."""

    torch: str
    """The version, e.g. ``2.13.0+cpu``."""
    releases: tuple[str, ...]
    """The releases that saved or loaded."""
    saves: int
    """Number of saves."""
    cells: int
    """Number of cells, controls among them."""
    compared: int
    """Number of those saves and cells that were observed under another version, too."""


@dataclasses.dataclass(frozen=True)
class TorchComparison:
    """Result of a comparison of versions of PyTorch."""

    coverage: tuple[Coverage, ...]
    """What was observed under each version."""
    compared: int
    """Number of saves and cells that were observed under more than one version."""
    differences: tuple[TorchDifference, ...]
    """The facts that differ."""

    @property
    def differing(self) -> tuple[str, ...]:
        """The saves and cells in which at least one fact differs."""
        return tuple(dict.fromkeys(difference.where for difference in self.differences))


@dataclasses.dataclass
class _Observed:
    """What was observed under one version of PyTorch."""

    facts: dict[str, Facts] = dataclasses.field(default_factory=dict)
    releases: dict[str, None] = dataclasses.field(default_factory=dict)
    saves: int = 0


def compare(records: Iterable[Save | Load]) -> TorchComparison:
    """Compare all saves and cells that were observed under more than one version of PyTorch."""
    by_torch: dict[str, list[Save | Load]] = defaultdict(list)
    names = _names()
    for record in records:
        by_torch[record.provenance.torch] += _of_all(record, names)
    observed = {torch: _observed(found) for torch, found in by_torch.items()}
    places = {name: None for one in observed.values() for name in one.facts}
    shared = [name for name in places if sum(name in one.facts for one in observed.values()) > 1]
    differences = [
        difference
        for name in shared
        for difference in _differences(
            name, {torch: one.facts[name] for torch, one in observed.items() if name in one.facts}
        )
    ]
    coverage = [_coverage(torch, one, set(shared)) for torch, one in observed.items()]
    return TorchComparison(tuple(coverage), len(shared), tuple(differences))


def _names() -> dict[str, list[str]]:
    """Return the names of the catalogue's releases by digest of their source."""
    found: dict[str, list[str]] = defaultdict(list)
    for release in releases.load().releases:
        found[release.digest].append(release.name)
    return found


def _of_all(record: Save | Load, names: dict[str, list[str]]) -> list[Save | Load]:
    """Return a record for each release with the very same source: one is run for all of them."""
    same = names.get(record.source_digest, [record.release])
    return [record.model_copy(update={"release": name}) for name in same]


_KINDS = {
    "": fidelity.on_the_standin,
    "gpu": fidelity.on_a_device,
    "compiled extension": fidelity.on_the_binding,
}
"""What is compared apart from each other, by what marks it in the names of saves and cells."""


def _observed(records: list[Save | Load]) -> _Observed:
    found = _Observed()
    for kind, wanted in _KINDS.items():
        scenarios = fidelity.by_scenario(records, wanted)
        for scenario in scenarios:
            several = sum(other.scenario == scenario.scenario for other in scenarios) > 1
            marks = [*filter(None, [kind]), *([scenario.digest[:8]] * several)]
            mark = f" ({', '.join(marks)})" if marks else ""
            for name, save, load in scenario.observations():
                control = load is not None and load.variant.startswith(CONTROL)
                # Another release may have saved the same state; its controls are its own.
                if not (load and control and load.release != save.release):
                    _add(found, name + mark, save, load)
    return found


def _add(observed: _Observed, name: str, save: Save, load: Load | None) -> None:
    facts = fidelity.facts(save, load) | {VALUES: (load or save).observed()[:12]}
    known = observed.facts.get(name)
    observed.saves += load is None and known is None
    observed.releases[(load or save).release] = None
    observed.facts[name] = _both(known, facts) if known else facts


def _both(one: Facts, other: Facts) -> Facts:
    """Return the facts of two observations under one version: both, where they differ."""
    return {
        what: " or ".join(dict.fromkeys(facts.get(what, "nothing") for facts in (one, other)))
        for what in one | other
    }


def _differences(where: str, seen: dict[str, Facts]) -> Iterator[TorchDifference]:
    names = dict.fromkeys(what for facts in seen.values() for what in facts)
    told = False
    for what in sorted(names, key=lambda name: name == VALUES):
        values = {torch: facts.get(what, "nothing") for torch, facts in seen.items()}
        # Where anything else differs, so does the digest of all.
        if len(set(values.values())) > 1 and not (told and what == VALUES):
            told = True
            yield TorchDifference(where, what, values)


def _coverage(torch: str, observed: _Observed, shared: set[str]) -> Coverage:
    return Coverage(
        torch=torch,
        releases=tuple(observed.releases),
        saves=observed.saves,
        cells=len(observed.facts) - observed.saves,
        compared=len(shared & observed.facts.keys()),
    )
