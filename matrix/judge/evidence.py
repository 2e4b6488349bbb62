"""The evidence that a judgement may use, and why there is none where there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from matrix.catalogue.releases import Release
from matrix.catalogue.words import Absence, AttemptKind
from matrix.judge import outcomes
from matrix.judge.outcomes import LoadResult
from matrix.plan.evidence_index import EvidenceIndex, Kept, Known
from matrix.store.records import Attempt, Load, Save


@dataclasses.dataclass(frozen=True)
class Absent:
    """The absence of usable evidence: its kind, why, and the failed attempt's output.

    :param lacking: the release that could not be obtained or started, where that is why.
    """

    kind: Absence
    why: str
    detail: str = ""
    lacking: str = ""


class UsableEvidence:
    """Returns the evidence on saves and loads of a plan, or why it may not be used.

    :param index: the plan and the evidence on it.
    """

    def __init__(self, index: EvidenceIndex) -> None:
        self.plan = index.plan
        self._index = index
        self._saved: dict[tuple[str, str], Known[Save] | Absent] = {}
        self._alike: dict[tuple[str, str], str] = {}
        self._observations: dict[int, str] = {}
        self._results: dict[tuple[str, int], LoadResult] = {}
        self._attempts: dict[tuple[str, str], Sequence[Attempt]] = {}

    def save(self, scenario: str, saver: Release) -> Known[Save] | Absent:
        """Return the evidence on a release's save."""
        found = self._saved.get((scenario, saver.name))
        if found is None:
            found = _usable(self._index.save(scenario, saver), self._tried(scenario, saver))
            self._saved[scenario, saver.name] = found
        return found

    def alike(self, scenario: str, saver: Release) -> str:
        """Return what is equal for savers whose checkpoints make no difference to a loader.

        It is what was observed of the save, and whether live. Where nothing was, where it failed,
        or where any attempt of the plan did, each saver is on its own.
        """
        place = scenario, saver.name
        if place not in self._alike:
            saved = self.save(scenario, saver)
            if isinstance(saved, Absent) or saved.records[0].error or self._index.has_attempts:
                self._alike[place] = saver.name
            else:
                self._alike[place] = f"{self._observed(saved.records[0])} {saved.live}"
        return self._alike[place]

    def load(
        self, scenario: str, variant: str, saved: Known[Save], saver: Release, loader: Release
    ) -> Known[Load] | Absent:
        """Return the evidence on the load of a save."""
        attempts = [
            *self._tried(scenario, loader),
            *self._index.load_attempts(scenario, variant, saver, loader),
        ]
        known = self._index.load(scenario, variant, saved.records[0], loader)
        return _usable(known, attempts)

    def result(self, save: Save, load: Load) -> LoadResult:
        """Return what became of a load."""
        # Controls and cells ask for the same; records live as long as the index.
        place = self._observed(save), id(load)
        if place not in self._results:
            self._results[place] = outcomes.result(
                save, load, attends=self.plan.scenarios[load.scenario].attends
            )
        return self._results[place]

    def _observed(self, save: Save) -> str:
        if id(save) not in self._observations:
            self._observations[id(save)] = save.observed()
        return self._observations[id(save)]

    def _tried(self, scenario: str, release: Release) -> Sequence[Attempt]:
        """Return the failed attempts at a release's save.

        They count for its loads too, as a missing source or image makes both fail.
        """
        place = scenario, release.name
        if place not in self._attempts:
            key = self._index.save_attempt_key(scenario, release)
            self._attempts[place] = self._index.attempts(key)
        return self._attempts[place]


def _usable(known: Known[Kept] | None, attempts: Sequence[Attempt]) -> Known[Kept] | Absent:
    """Return the evidence if it may be used, else why not.

    Live evidence is used whatever attempts failed. Recorded evidence is used only where the
    source was unavailable or nothing was attempted, and not after a crash.
    """
    if known is not None and known.conflict:
        seen = sorted({record.observed()[:8] for record in known.records})
        return Absent(Absence.INFRA, f"records under one key disagree: {', '.join(seen)}")
    broken = [attempt for attempt in attempts if attempt.kind != AttemptKind.UNAVAILABLE]
    if known is not None and (known.live or not broken):
        return known
    if attempts:
        last = (broken or attempts)[-1]
        return Absent(last.kind.absence, last.message, last.detail, last.lacking)
    return Absent(Absence.NOT_RUN, "nothing was run for it, and nothing is recorded")
