"""Types of the part of ``report.json`` that compares candidates with their baselines."""

from __future__ import annotations

from matrix.catalogue.words import Lane, Outcome, Standing
from matrix.errors import ExitCode
from matrix.report.cells import ReportModel
from matrix.system.counting import counted

_SOUND = tuple(outcome.value for outcome in (Outcome.LOADED, Outcome.NONE))


class Match(ReportModel):
    """One candidate and the release that it is held against."""

    name: str
    """The candidate's name: version, ``@`` and the first 8 digits of its digest."""
    digest: str
    """SHA-256 over its Python files."""
    source: str
    """The source tree, wheel, image or git commit."""
    baseline: str
    """The release that it is held against."""


class StandingGroup(ReportModel):
    """Cells, saves or controls with one standing, and the same before and after."""

    standing: Standing
    """How the candidate compares with its baseline."""
    kind: str
    """What is compared: ``cells``, ``saves`` or ``controls``."""
    control: str
    """Name of the control; empty for cells and saves."""
    before: str
    """What the baseline came to."""
    after: str
    """What the candidate comes to."""
    reason: str
    """The error of the candidate, what is flawed, or why there is no outcome; else empty."""
    ids: tuple[str, ...]
    """Ids of the cells, saves or controls."""
    where: tuple[str, ...]
    """The same as ranges of savers and loaders, one line for each scenario and variant."""

    @property
    def title(self) -> str:
        """How many things of which kind these are, e.g. ``3 controls (own)``."""
        control = f" ({self.control})" if self.control else ""
        return f"{counted(len(self.ids), self.kind.removesuffix('s'))}{control}"

    @property
    def change(self) -> str:
        """What they were and are, see :func:`change`."""
        return change(self.before, self.after)


def change(before: str, after: str) -> str:
    """Return what something was and is, e.g. ``loaded -> defaults``; once if that is the same."""
    return after if before == after else f"{before} -> {after}"


class Qualification(ReportModel):
    """How candidates compare with their baselines, and how far that is to be trusted."""

    matches: tuple[Match, ...]
    """The candidates, at least one."""
    evidence: str
    """Where the evidence on the baselines is from."""
    exit_code: int
    """1 where anything is worse; else 4 or 3 where something has no outcome."""
    counts: dict[str, dict[Standing, int]]
    """Number of cells, saves and controls by standing."""
    groups: tuple[StandingGroup, ...]
    """Everything that was compared, by cause: the most serious first."""
    lane: Lane
    """What executed Transformer Engine."""
    torch: tuple[str, ...]
    """Versions of PyTorch that the loads were made with."""
    live: int
    """Number of the candidates' cells whose save and load have live evidence."""
    recorded: int
    """Number of the candidates' cells that rest on recorded evidence."""

    @property
    def answer(self) -> str:
        """Whether the candidates qualify, in words."""
        return {ExitCode.OK: "qualified", ExitCode.DEVIATES: "not qualified"}.get(
            ExitCode(self.exit_code), "not decided"
        )

    @property
    def candidates(self) -> str:
        """The names of the candidates."""
        return ", ".join(one.name for one in self.matches)

    @property
    def baselines(self) -> str:
        """The names of the baselines."""
        return ", ".join(dict.fromkeys(one.baseline for one in self.matches))

    @property
    def limits(self) -> str:
        """How far the answer goes: lane, kernels, PyTorch, and how much of it is live."""
        kernels = "kernels as shipped" if self.lane == Lane.GPU else "no kernels were run"
        torch = ", ".join(self.torch) or "none"
        evidence = f"{counted(self.live, 'cell')} live, {self.recorded} recorded"
        return f"lane {self.lane.value}, {kernels}, PyTorch {torch}, {evidence}"

    @property
    def title(self) -> str:
        """What is held against what."""
        return f"{self.candidates} against {self.baselines}"

    @property
    def sentence(self) -> str:
        """The answer with its limits, in one sentence."""
        return f"{self.title}: {self.answer} ({self.limits})."

    @property
    def inherited(self) -> int:
        """Number of cells that are the same, and lose metadata or fail."""
        return sum(
            len(group.ids)
            for group in self.of(Standing.SAME)
            if group.kind == "cells" and group.after not in _SOUND
        )

    @property
    def totals(self) -> str:
        """The counts as one line: cells first, then saves and controls."""
        shown = []
        for kind, counts in reversed(self.counts.items()):
            counted = [
                f"{number} {standing.value}" for standing, number in counts.items() if number
            ]
            shown.append(f"{kind}: {', '.join(counted) or 'none'}")
        return "; ".join(shown)

    def count(self, standing: Standing, kind: str = "cells") -> int:
        """Return the number of cells, saves or controls that have a standing."""
        return self.counts.get(kind, {}).get(standing, 0)

    def of(self, standing: Standing) -> tuple[StandingGroup, ...]:
        """Return the groups that have a standing."""
        return tuple(group for group in self.groups if group.standing == standing)
