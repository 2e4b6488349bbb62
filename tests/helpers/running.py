"""Runs of real Transformer Engine code into a store in a folder of its own.

The releases used come from the package index, so that no git host is needed.
"""

from __future__ import annotations

import datetime
import re
import shutil
from pathlib import Path
from typing import Any

from matrix import report
from matrix.catalogue import faq, releases, scenarios
from matrix.catalogue.releases import Catalogue
from matrix.catalogue.words import RunnerName
from matrix.judge import judge, ledger
from matrix.judge.judgement import Judgement
from matrix.lane import sources
from matrix.lane.execution import execute
from matrix.lane.local import LocalRunner
from matrix.lane.run import Run, RunOptions
from matrix.lane.runner import Runner
from matrix.lane.sources import CodeSource, FetchedSources, cache_folder
from matrix.lane.threads import ThreadExecutor
from matrix.plan.cells import Plan, plan_cells
from matrix.plan.evidence_index import EvidenceIndex
from matrix.plan.remaining import Scope
from matrix.store import recorded
from matrix.store.store import Store

TODAY = datetime.date(2026, 11, 24)
TEST_BASE = "te-matrix-test/base:bookworm"
"""The image that tests of containers build on; ``tests/docker/engine.sh`` makes it."""


class Bench:
    """A store in a folder of its own, and runs into it."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "store")
        self.known: Catalogue = releases.load()
        self.documentation = faq.load()

    def candidate(self, path: Path) -> str:
        """Take a source tree as one more release and return its name."""
        release = sources.candidate(path)
        self.known = self.known.with_candidate(release)
        return release.name

    def plan(
        self,
        savers: list[str],
        loaders: list[str],
        *,
        scenario: str = "autocast",
        variants: tuple[str, ...] = ("plain",),
        scenario_file: Path | None = None,
        runner: RunnerName = RunnerName.LOCAL,
    ) -> Plan:
        return plan_cells(
            self.documentation,
            {scenario: scenarios.load(scenario_file)[scenario]},
            {name: scenarios.variants()[name] for name in variants},
            [self.known[name] for name in savers],
            [self.known[name] for name in loaders],
            runner=runner,
        )

    def run(
        self,
        made: Plan,
        *,
        timeout: float = 60.0,
        host: Runner | None = None,
        scope: Scope | None = None,
        sources: CodeSource | None = None,
    ) -> Run:
        options = RunOptions(jobs=2, timeout=timeout, scope=scope or Scope())
        archive = recorded.evidence(made.lane)
        running = Run(made, self.store, sources or FetchedSources(), options, archive)
        execute(running, ThreadExecutor(host or LocalRunner(cache_folder() / "logs")))
        return running

    def report(self, made: Plan) -> list[dict[str, Any]]:
        """The cells of ``report.json``."""
        built = report.build(self.judge(made), self.documentation)
        return [cell.model_dump(mode="json") for cell in built.cells]

    def judge(self, made: Plan, *, with_recorded: bool = True) -> Judgement:
        archive = recorded.evidence(made.lane) if with_recorded else None
        index = EvidenceIndex(made, self.store, archive)
        return judge.judge(index, self.documentation, ledger.load(), TODAY)


def broken_copy(root: Path, file: str, pattern: str, replacement: str) -> Path:
    """Copy release 2.17.1 to ``root`` and change one place in one of its files."""
    source = FetchedSources().get(releases.load()["2.17.1"])
    shutil.copytree(
        source / "transformer_engine",
        root / "transformer_engine",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (root / "build_tools").mkdir()
    (root / "build_tools" / "VERSION.txt").write_text("2.17.1\n")
    path = root / "transformer_engine" / file
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count == 1, f"{pattern} is not in {file}"
    path.write_text(text)
    return root
