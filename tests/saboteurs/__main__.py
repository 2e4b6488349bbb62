"""Try every saboteur, or those named, and print the table. Fails when one survives."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from matrix.catalogue.words import Standing
from matrix.errors import nearest
from saboteurs import table
from saboteurs.table import HERE, Bench
from saboteurs.trial import Court, Finding, shared_host, standings


def main(names: Sequence[str]) -> int:
    """Try the saboteurs named, all if none is; ``--markdown`` only prints the table.

    :returns: 0 when every one was caught, and the whole release qualifies on every bench.
    """
    if "--markdown" in names:
        print(table.markdown(table.load()), end="")
        return 0
    known = table.load()
    faults = [row.fault for row in known.saboteur]
    for name in names:
        if name not in faults:
            sys.exit(f"there is no saboteur {name}. {nearest(name, faults)}")
    found = list(findings(known, names))
    show(found)
    survivors = [finding for finding in found if finding.complaints]
    print(f"{len(found)} saboteurs, {len(survivors)} survive")
    return 1 if survivors or not found else 0


def findings(known: table.Table, names: Sequence[str]) -> Iterator[Finding]:
    """Try saboteurs bench by bench, each bench after the whole release qualified on it."""
    with (
        tempfile.TemporaryDirectory(prefix="saboteurs-") as work,
        shared_host(Path(work, "logs")) as host,
    ):
        for bench in known.bench:
            wanted = [row for row in known.on(bench) if not names or row.fault in names]
            if not wanted:
                continue
            court = Court(bench, Path(work, bench.name), host)
            harmless(court, bench)
            for saboteur in wanted:
                yield court.try_one(saboteur)


def harmless(court: Court, bench: Bench) -> None:
    """See that the release qualifies with nothing planted: else a trial proves nothing.

    :raises SystemExit: it does not.
    """
    report = court.qualify(HERE / "faults" / "nothing.py")
    bad = [
        f"{thing} is {group.standing.value}: {group.change}: {group.reason}"
        for thing, group in standings(report)
        if group.standing != Standing.SAME
    ]
    if report.exit_code or bad:
        sys.exit(
            f"bench {bench.name} fails with nothing planted: exit code {report.exit_code}\n"
            + "\n".join(bad)
        )


def show(found: Sequence[Finding]) -> None:
    """Print what became of each."""
    shown = Table("fault", "bench", "exit", "worse", "caught")
    for finding in found:
        caught = "yes" if not finding.complaints else "NO: " + "; ".join(finding.complaints)
        shown.add_row(
            f"{finding.fault}\n[dim]{finding.summary}[/dim]",
            finding.bench,
            str(finding.exit_code),
            ", ".join(finding.wounded),
            caught,
        )
    Console(width=None if sys.stdout.isatty() else 160).print(shown)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
