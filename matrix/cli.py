"""The command line: ``te-matrix``. Reads options, calls the modules, sets the exit code."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from matrix import (
    __version__,
    catalogue,
    console,
    expectations,
    explain,
    judge,
    ledger,
    plan,
    recorded,
    report,
    scenarios,
    selection,
    sources,
)
from matrix.catalogue import Catalogue, Release
from matrix.errors import MatrixError, UsageError
from matrix.expectations import Documentation
from matrix.index import Index
from matrix.run import CELL_TIMEOUT, Options, Run
from matrix.selection import Selection
from matrix.sources import Sources
from matrix.store import Store

STORE = "te-matrix-store"
REPORT = "te-matrix-report"


@dataclasses.dataclass(kw_only=True)
class Selected:
    """What the selection options of a command line mean."""

    catalogue: Catalogue
    documentation: Documentation
    plan: plan.Plan
    typed: Selection


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the selection options to a command."""
    for option in reversed(
        [
            click.option("--releases", help=f"{selection.GRAMMAR}  [default: bands]"),
            click.option("--saved-by", help="savers only; the same grammar"),
            click.option("--loaded-by", help="loaders only; the same grammar"),
            click.option("--scenario", help="NAME,... | all  [default: autocast]"),
            click.option("--variant", help="NAME,... | all  [default: plain,remapped]"),
            click.option(
                "--candidate",
                multiple=True,
                type=click.Path(exists=True, path_type=Path),
                help="a TE source tree or wheel under test, as one more release",
            ),
            click.option(
                "--candidate-as",
                type=click.Choice(["loader", "saver", "both"]),
                help="which of a candidate's cells are planned  [gate: loader; else both]",
            ),
            click.option("--lane", type=click.Choice(["cpu"]), default="cpu", show_default=True),
            click.option(
                "--runner", type=click.Choice(["local"]), default="local", show_default=True
            ),
            click.option("--size", help="a size of scenarios.toml instead of each scenario's own"),
            click.option(
                "--scenarios",
                "scenario_file",
                type=click.Path(path_type=Path),
                help="a file with scenarios of your own",
            ),
        ]
    ):
        command = option(command)
    return command


def select(options: dict[str, Any], last: Selection | None = None) -> Selected:
    """Turn selection options into a plan, taking them out of ``options``.

    :param last: the selection to take up where the options hold none.
    """
    typed = Selection(**{name: options.pop(name) for name in Selection.model_fields})
    if last is not None and typed == Selection():
        typed = last
    known = catalogue.load()
    documentation = expectations.load()
    for path in typed.candidate:
        known = known.with_candidate(sources.candidate(path))

    def chosen(text: str | None) -> list[Release]:
        return selection.releases(known, documentation, text or typed.releases or "bands")

    recipes = scenarios.load(typed.scenario_file, typed.size)
    variants = scenarios.variants()
    savers, loaders = chosen(typed.saved_by), chosen(typed.loaded_by)
    wanted_scenarios = selection.names("scenario", recipes, typed.scenario or "autocast")
    wanted_variants = selection.names("variant", variants, typed.variant or "plain,remapped")
    everything = {release.name for release in known.releases}
    made = plan.make(
        documentation,
        {name: recipes[name] for name in wanted_scenarios},
        {name: variants[name] for name in wanted_variants},
        savers,
        loaders,
        candidate_as=options.pop("candidate_as") or "both",
        lane=options.pop("lane"),
        runner=options.pop("runner"),
        whole=everything == {r.name for r in savers} == {r.name for r in loaders}
        and wanted_scenarios == list(recipes)
        and wanted_variants == list(variants),
    )
    return Selected(catalogue=known, documentation=documentation, plan=made, typed=typed)


def judged(selected: Selected, store: Store | None, today: datetime.date) -> judge.Judgement:
    """Judge a selection on what a store and the recorded evidence hold."""
    index = Index(selected.plan, store, recorded.evidence(selected.plan.lane))
    return judge.judge(index, selected.documentation, ledger.load(), today)


def with_store(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --store and --today to a command."""
    store = click.option(
        "--store", default=STORE, show_default=True, help="a folder, or any fsspec URL"
    )
    today = click.option(
        "--today",
        type=click.DateTime(["%Y-%m-%d"]),
        help="the date that ledger entries expire by  [default: today]",
    )
    return store(today(command))


def _date(given: datetime.datetime | None) -> datetime.date:
    return given.date() if given else datetime.date.today()


class Group(click.Group):
    """Turns the harness's errors into one sentence and an exit code."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except MatrixError as error:
            click.echo(f"te-matrix: {error}", err=True)
            context.exit(int(error.exit_code))
        except KeyboardInterrupt:
            click.echo("te-matrix: interrupted; what is finished is kept, run again", err=True)
            context.exit(130)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="te-matrix")
def main() -> None:
    """Does an FP8 checkpoint of one Transformer Engine release load in another?

    Exit codes: 0 agrees with the FAQ or is a known deviation, 1 deviates, 2 usage,
    3 incomplete, 4 something of ours or around us failed.
    """


@main.group("releases", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="print JSON")
@click.pass_context
def releases_command(context: click.Context, as_json: bool) -> None:
    """Show the catalogue of releases."""
    if context.invoked_subcommand:
        return
    documentation = expectations.load()
    rows = [
        {"name": release.name, "band": documentation.band(release).name, "source": release.source}
        | release.model_dump(exclude={"digest", "path"}, exclude_none=True, mode="json")
        for release in catalogue.load().releases
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        image = row.get("image", "-").rpartition("/")[2]
        basis = " (inferred)" if row.get("basis") == "inferred" else ""
        click.echo(
            f"{row['name']:8} {row['band']:9} {row['source']:20} {image + basis:32} "
            f"python {row.get('python', '-'):8} cuda {row.get('cuda', '-'):10} "
            f"torch {row.get('torch', '-')}"
        )


@releases_command.command("sync")
@click.option("--output", type=click.Path(path_type=Path), help="write the rows there")
def sync(output: Path | None) -> None:
    """Propose rows for releases that the package index has and the catalogue lacks."""
    known = catalogue.load()
    new = catalogue.missing(known, catalogue.published())
    if not new:
        click.echo(f"the catalogue has every published release ({len(known.releases)} rows)")
        return
    text = "\n".join(catalogue.render(sources.describe(version)) for version in new)
    if output:
        output.write_text(text)
        click.echo(f"{len(new)} new: {', '.join(new)}; rows for review in {output}")
    else:
        click.echo(text)


@main.command("plan")
@selecting
@with_store
@click.option("--json", "as_json", is_flag=True, help="print every cell as JSON")
def plan_command(as_json: bool, store: str, today: Any, **options: Any) -> None:
    """Show which cells a selection means, and how many are known already."""
    selected = select(options)
    index = Index(selected.plan, Store(store), recorded.evidence(selected.plan.lane))
    cells = [(cell, _state(index, cell)) for cell in selected.plan.cells]
    if as_json:
        rows = [dict(dataclasses.asdict(cell), id=cell.id, known=state) for cell, state in cells]
        click.echo(json.dumps(rows, indent=1))
        return
    states = [state for _cell, state in cells]
    made = selected.plan
    click.echo(f"savers:  {', '.join(release.name for release in made.savers)}")
    click.echo(f"loaders: {', '.join(release.name for release in made.loaders)}")
    click.echo(f"scenarios: {', '.join(made.recipes)}; variants: {', '.join(made.variants)}")
    click.echo(
        f"{len(cells)} cells: {states.count('live')} known live, "
        f"{states.count('recorded')} known from the recorded evidence, "
        f"{states.count('unknown')} unknown"
    )


def _state(index: Index, cell: plan.Cell) -> str:
    releases = index.plan.releases
    saved = index.save(cell.scenario, releases[cell.saved_by])
    if saved is None:
        return "unknown"
    loaded = index.load(cell.scenario, cell.variant, saved.records[0], releases[cell.loaded_by])
    if loaded is None:
        return "unknown"
    return "live" if saved.live and loaded.live else "recorded"


@main.command()
@selecting
@with_store
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count(), show_default=True)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=CELL_TIMEOUT,
    show_default=True,
    help="seconds per save or load",
)
@click.option("--git-url", help="git repository or mirror  [TE_MATRIX_GIT_URL]")
@click.option("--offline", is_flag=True, help="fetch no source; use what is cached or recorded")
@click.option(
    "--every-cell",
    is_flag=True,
    help="load also what a cell with the very same checkpoint state has answered; "
    "a disagreement makes the cells infra",
)
@click.option("--report", "folder", type=click.Path(path_type=Path), default=Path(REPORT))
@click.option(
    "--refresh-recorded",
    is_flag=True,
    help="run the whole catalogue live and replace the recorded evidence by it",
)
def run(**options: Any) -> None:
    """Save, cross-load, judge and report: whatever is not known yet."""
    if options.pop("refresh_recorded"):
        if options["candidate"] or options["size"] or options["scenario_file"]:
            raise UsageError(
                "--refresh-recorded records the catalogue and the packaged scenarios as they are",
                do="Leave out --candidate, --size and --scenarios",
            )
        options |= {"releases": "all", "scenario": "all", "variant": "all"}
        _run(options, refresh=True)
    else:
        _run(options, refresh=False)


def _run(options: dict[str, Any], *, refresh: bool) -> None:
    selected = select(options)
    store = Store(options["store"])
    show = Console()
    watching = console.progress(show)
    running = Run(
        selected.plan,
        store,
        Sources(options["git_url"], offline=options["offline"]),
        Options(options["jobs"], options["timeout"], options["every_cell"]),
        None if refresh else recorded.evidence(selected.plan.lane),
        watching,
    )
    store.remember(selected.typed)
    try:
        running.execute()
    finally:
        watching.stop()
    show.print(f"{running.measured} measured, the rest was known", highlight=False)
    _conclude(show, selected, store, options, refresh=refresh)


def _conclude(
    show: Console, selected: Selected, store: Store, options: dict[str, Any], *, refresh: bool
) -> None:
    today = _date(options["today"])
    if refresh:
        from matrix.refresh import refresh as refresh_recorded

        count = refresh_recorded(selected.plan, store, today)
        show.print(f"{count} records in {recorded.folder(selected.plan.lane)}", highlight=False)
    judgement = judged(selected, store, today)
    page = report.write(judgement, selected.documentation, options["folder"])
    console.print_judgement(show, judgement, selected.documentation)
    show.print(f"report: {page}", highlight=False, soft_wrap=True)
    sys.exit(int(judgement.exit_code))


@main.command("judge")
@selecting
@with_store
@click.option("--json", "as_json", is_flag=True, help="print the verdicts as JSON")
def judge_command(as_json: bool, store: str, today: Any, **options: Any) -> None:
    """Judge what a store holds, running nothing; by default what the last run selected."""
    kept = Store(store)
    selected = select(options, kept.remembered())
    judgement = judged(selected, kept, _date(today))
    if as_json:
        rows = [report.cell_object(verdict, judgement) for verdict in judgement.verdicts]
        click.echo(json.dumps(rows, indent=1))
    else:
        console.print_judgement(Console(), judgement, selected.documentation)


@main.command("report")
@selecting
@with_store
@click.option("--report", "folder", type=click.Path(path_type=Path), default=Path(REPORT))
@click.option("--json", "as_json", is_flag=True, help="print report.json instead of writing files")
def report_command(as_json: bool, folder: Path, store: str, today: Any, **options: Any) -> None:
    """Write the report on what a store holds; by default on what the last run selected."""
    kept = Store(store)
    selected = select(options, kept.remembered())
    judgement = judged(selected, kept, _date(today))
    if as_json:
        click.echo(json.dumps(report.build(judgement, selected.documentation), indent=1))
    else:
        click.echo(f"report: {report.write(judgement, selected.documentation, folder)}")


@main.command()
@selecting
@with_store
def gate(store: str, today: Any, **options: Any) -> None:
    """Judge what a store holds and say it with the exit code.

    By default what the last run selected. A candidate is gated as a loader unless
    --candidate-as says otherwise.
    """
    options["candidate_as"] = options["candidate_as"] or "loader"
    kept = Store(store)
    selected = select(options, kept.remembered())
    judgement = judged(selected, kept, _date(today))
    console.print_judgement(Console(), judgement, selected.documentation)
    sys.exit(int(judgement.exit_code))


@main.command("explain")
@click.argument("saved_by")
@click.argument("loaded_by")
@with_store
@click.option("--json", "as_json", is_flag=True, help="print the verdicts as JSON")
def explain_command(saved_by: str, loaded_by: str, store: str, today: Any, as_json: bool) -> None:
    """Tell what happens to a checkpoint of SAVED_BY in LOADED_BY, why, and what to do.

    Answers from the store where there is one, else from the recorded evidence.
    """
    known, documentation = catalogue.load(), expectations.load()
    pair = [known[saved_by]], [known[loaded_by]]
    made = plan.make(documentation, scenarios.load(), scenarios.variants(), *pair)
    selected = Selected(catalogue=known, documentation=documentation, plan=made, typed=Selection())
    judgement = judged(selected, Store(store), _date(today))
    if as_json:
        rows = [report.cell_object(verdict, judgement) for verdict in judgement.verdicts]
        click.echo(json.dumps(rows, indent=1))
        return
    for line in explain.page(judgement, documentation, ledger.load()):
        click.echo(line)
