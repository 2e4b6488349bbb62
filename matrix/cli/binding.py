"""``te-matrix binding``: holds the stand-in against the compiled extensions of releases."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence

import click
from rich.console import Console

from matrix.catalogue import faq, releases, selection
from matrix.cli.options import with_json
from matrix.errors import ExitCode, UsageError
from matrix.lane import git
from matrix.lane.binding import compare, record, run, sources, toolchain
from matrix.lane.binding.build import folder
from matrix.lane.binding.compare import ASPECTS, Comparison
from matrix.lane.binding.observation import Observed, Observer
from matrix.lane.binding.toolchain import Toolchain
from matrix.lane.sources import FetchedSources, prepare_cache
from matrix.report import console
from matrix.system.counting import counted


@click.command("binding", short_help="Compare the stand-in with compiled extensions.")
@click.argument("wanted", metavar="[RELEASES]...", nargs=-1)
@click.option("--record", "recording", is_flag=True, help="write what was seen into the checkout")
@with_json("print the whole comparison as JSON")
def binding_command(wanted: tuple[str, ...], recording: bool, as_json: bool) -> None:
    """Compile the extensions of RELEASES without their kernels, and compare with the stand-in.

    Exit code 1 if a difference is not explained. All releases by default. It needs a CUDA build
    of PyTorch and g++, no GPU and no nvcc.
    """
    tools = toolchain.find()
    prepare_cache()
    known = releases.load()
    chosen = selection.releases(known, faq.load(), ",".join(wanted) or "all")
    progress = console.progress(Console(stderr=True))
    url = git.chosen_url(None)
    built = run.build_all(chosen, tools, url, progress)
    have = [one for one in built if one.file]
    if not have:
        raise UsageError("no extension could be compiled", why=str(built[0].failure))
    with Observer() as observer:
        seen = list(run.observe(have, FetchedSources(url), observer, progress))
        progress.stop()
        if recording:
            _record(built, seen, tools, whole=len(chosen) == len(known.releases))
        pairs = zip(seen, have, strict=True)
        found = [run.compared(one, extension, observer) for one, extension in pairs]
    unexplained = _unexplained(found)
    _show(found, unexplained, built, tools, as_json=as_json)
    sys.exit(int(ExitCode.DEVIATES if unexplained else ExitCode.OK))


def _record(
    built: Sequence[run.Built], seen: Sequence[Observed], tools: Toolchain, *, whole: bool
) -> None:
    lacking = [one for one in built if not one.file]
    if lacking or not whole:
        why = f"{lacking[0].release.name}: {lacking[0].failure}" if lacking else ""
        raise UsageError(
            "the table is recorded for all releases at once",
            why=why or "some were not selected",
            do="Name a git repository or a mirror that has the old ones in TE_MATRIX_GIT_URL",
        )
    provenance = {
        "torch": tools.torch,
        "python": tools.python,
        "sources": {
            one.release.name: f"{one.release.extension or one.release.git} "
            f"{sources.identity(one.release)}"
            for one in built
        },
    }
    record.write(seen, provenance)
    record.write_exports(seen)


def _unexplained(found: Sequence[Comparison]) -> list[tuple[str, compare.Difference]]:
    """Return the differences that nothing explains, each with its release."""
    table = compare.explained()
    return [
        (one.release, difference)
        for one in found
        for difference in one.differences
        if compare.explanation(one.release, difference, table) is None
    ]


def _show(
    found: Sequence[Comparison],
    unexplained: Sequence[tuple[str, compare.Difference]],
    built: Sequence[run.Built],
    tools: Toolchain,
    *,
    as_json: bool,
) -> None:
    missing = {one.release.name: str(one.failure) for one in built if one.failure}
    if as_json:
        document = {"compared": [dataclasses.asdict(one) for one in found], "not compared": missing}
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(f"PyTorch {tools.torch}; the extensions are in {folder(tools)}")
    click.echo("facts compared, and of these how many differ")
    click.echo("".join([f"{'release':<9}", *(f"{aspect:>16}" for aspect in ASPECTS)]))
    for one in found:
        cells = [_cell(one, aspect) for aspect in ASPECTS]
        click.echo("".join([f"{one.release:<9}", *(f"{cell:>16}" for cell in cells)]))
    for release, difference in unexplained:
        click.echo(f"{release}: {difference.aspect}: {difference.what}")
        click.echo(f"    compiled  {difference.compiled}")
        click.echo(f"    stand-in  {difference.standin}")
    for name, why in missing.items():
        click.echo(f"{name}: not compared: {why}")
    total = sum(len(one.differences) for one in found)
    click.echo(f"{counted(len(found), 'release')} compared, {counted(total, 'difference')}")


def _cell(one: Comparison, aspect: str) -> str:
    differing = sum(difference.aspect == aspect for difference in one.differences)
    return f"{one.compared[aspect]}" + (f" ({differing})" if differing else "")
