"""``te-matrix ci``: pipeline files that split the matrix into CI jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from matrix.catalogue.selection import DEFAULTS
from matrix.catalogue.words import Lane, RunnerName
from matrix.errors import StoreError, UsageError, os_errors_as
from matrix.gate import pipelines
from matrix.plan import shards
from matrix.plan.costs import Costs
from matrix.workflow import arguments
from matrix.workflow.selecting import select

_NAMES = {"scenario_file": "--scenarios", "ledger_file": "--ledger"}


@click.command("ci", short_help="Write pipeline files that run the matrix in N jobs.")
@arguments.with_selection
@click.option("--shards", "count", type=click.IntRange(1), help="number of jobs")
@click.option(
    "--nightly",
    metavar="CANDIDATE",
    is_flag=False,
    flag_value="git:main",
    help="write files that qualify CANDIDATE every night, and propose new releases  "
    "[default: git:main]",
)
@click.option(
    "--service",
    type=click.Choice([*pipelines.NAMES]),
    multiple=True,
    default=[*pipelines.NAMES],
    help="service to write a file for  [default: all]",
)
@click.option(
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("te-matrix-ci"),
    show_default=True,
)
def ci_command(
    count: int | None,
    nightly: str | None,
    service: tuple[str, ...],
    folder: Path,
    **options: Any,
) -> None:
    """Write files for GitHub Actions and GitLab: of N jobs, or of a job every night.

    With --shards, N jobs run the matrix and a last one merges the results. The selection options
    are those of the jobs, in which the path of a candidate is looked up. With --nightly, a
    candidate such as git:main is qualified every night and its page posted, and releases that
    are new are proposed with their qualification.
    """
    if (count is None) == (nightly is None):
        raise UsageError("there is nothing to write", do="Give either --shards N or --nightly")
    if nightly is not None:
        if argv := _argv(options):
            raise UsageError(
                f"--nightly does not take {argv[0]}",
                why="it qualifies a candidate with all releases, in all scenarios",
                do="Leave it out, and change the files by hand",
            )
        texts = {f"nightly-{pipelines.NAMES[s]}": (s, nightly) for s in service}
        _write(folder, {n: pipelines.render_nightly(*of) for n, of in texts.items()})
        return
    assert count is not None
    selected = select(arguments.request(**options))
    if (selected.plan.lane, selected.plan.runner) != (Lane.CPU, RunnerName.LOCAL):
        raise UsageError(
            "pipelines of one stage are for the cpu lane on the jobs' own machines",
            why="elsewhere a checkpoint cannot be made again by every shard that loads it",
            do="Shard `--phase save`, merge, then shard `--phase cross-load`",
        )
    # An impossible number of shards is an error here, instead of in every job.
    shards.split(selected.plan, Costs(selected.evidence), 1, count)
    selection = _argv(options) or ["--releases", DEFAULTS["releases"]]
    _write(folder, {pipelines.NAMES[s]: pipelines.render(s, count, selection) for s in service})


def _write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        path = folder / name
        with os_errors_as(StoreError, f"{path} cannot be written", "Name a folder with --output"):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        click.echo(path)


def _argv(options: dict[str, Any]) -> list[str]:
    """Return the selection options as command line arguments."""
    argv = []
    for name, value in options.items():
        option = _NAMES.get(name, f"--{name.replace('_', '-')}")
        for one in value if isinstance(value, tuple) else [value]:
            if one is not None:
                argv += [option, str(one)]
    return argv
