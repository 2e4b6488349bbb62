"""``te-matrix remap``: rewrites a checkpoint for another release."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import click
from rich.console import Console

from matrix.checkpoint import dropping
from matrix.checkpoint.errors import printable
from matrix.cli.options import with_allow, with_git_url, with_json, with_store
from matrix.doctor import Remapped, StateChange, remap
from matrix.lane.sources import FetchedSources
from matrix.report import console
from matrix.store.store import Store
from matrix.system.progress import Progress


@click.command("remap", short_help="Rewrite a checkpoint for another release.")
@click.argument("path", metavar="IN", type=Path)
@click.argument("out", metavar="OUT", type=Path)
@click.option("--to", required=True, help="the release that is to load it")
@click.option("--dry-run", is_flag=True, help="print the changes and write nothing")
@click.option(
    "--drop-fp8-state",
    is_flag=False,
    flag_value=dropping.ALL,
    multiple=True,
    metavar="[NAME]",
    help="drop FP8 state so that strict loading works, and print what is lost: that of attention, "
    "if NAME is attention, or of the modules whose path is NAME, * for any characters; all of it, "
    "if there is no NAME, and then after IN and OUT",
)
@click.option(
    "--add-norm-states",
    multiple=True,
    metavar="PATTERN",
    help="path of norms that are Transformer Engine's, * for any characters: 1.13 and later expect "
    "an extra state of them, which 1.12 and older do not save",
)
@click.option(
    "--dequantize",
    type=click.Choice(["bf16", "fp16", "fp32"]),
    help="make plain tensors of quantized weights, for a model that is built without them",
)
@click.option("--saved-by", help="the release that wrote it, if you know it")
@with_allow
@click.option(
    "--unchanged",
    type=click.Choice(["copy", "link", "reflink"]),
    default="copy",
    show_default=True,
    help="what to do with unchanged files of a folder",
)
@with_git_url
@with_store
@with_json("print what was done as JSON")
def remap_command(
    path: Path,
    out: Path,
    to: str,
    dry_run: bool,
    drop_fp8_state: tuple[str, ...],
    add_norm_states: tuple[str, ...],
    dequantize: Literal["bf16", "fp16", "fp32"] | None,
    saved_by: str | None,
    allow: tuple[str, ...],
    unchanged: Literal["copy", "link", "reflink"],
    git_url: str | None,
    store: Store,
    as_json: bool,
) -> None:
    """Rewrite the checkpoint IN into the new file or folder OUT, for the release --to.

    Applies the FAQ's key mapping and whatever else that release needs, according to the
    matrix, to load the FP8 metadata and to go on updating it. Tensors stay the same bytes;
    quantized weights get the form that the release pickles its own in, with the same data and
    scales, or are made plain tensors by --dequantize.
    A checkpoint that would run code when loaded is refused.
    Progress is shown where standard error is a terminal.
    OUT appears only after the result has been inspected, and its metadata loaded by the
    release's own code if the cpu lane has that.
    """
    screen = Console(stderr=as_json)
    terminal = Console(stderr=True)
    progress = console.progress(terminal) if terminal.is_terminal else Progress()
    try:
        done = remap(
            path,
            out,
            to=to,
            dry_run=dry_run,
            drop_fp8_state=drop_fp8_state,
            add_norm_states=add_norm_states,
            dequantize=dequantize,
            saved_by=saved_by,
            allow=allow,
            unchanged=unchanged,
            store=store,
            sources=FetchedSources(git_url),
            progress=progress,
        )
    finally:
        progress.stop()
    if as_json:
        plain = {**dataclasses.asdict(done), "path": str(done.path), "out": str(done.out)}
        click.echo(json.dumps(plain, indent=1))
        return
    for line in _lines(done, dry_run=dry_run):
        screen.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def _lines(done: Remapped, *, dry_run: bool) -> Iterator[str]:
    before = f"{done.release} on {done.path} as it is: {done.before.status}"
    yield f"{before} ({done.before.detail})" if done.before.detail else before
    if not (done.changes or done.weights):
        yield f"nothing to rewrite; {done.out} was not written"
    if done.weights:
        yield f"weights: {done.weights}"
    if done.changes:
        yield f"rewritten into the form that {done.release} reads ({done.form}):"
        yield from _changes(done.changes)
    if done.written:
        yield f"checked: {done.verified}"
        yield f"done: {done.out}"
    elif dry_run:
        yield "dry run: nothing was written"
    if not done.changes and done.before.history:
        yield f"load it under a recipe with amax_history_len = {done.before.history}"
    if done.read:
        yield done.read
    if done.opt_in:
        yield f"set {done.opt_in}=1 for the load, if you trust the file"


def _changes(changes: tuple[StateChange, ...]) -> Iterator[str]:
    """Yield a line for each module that loses something, and for others that change alike."""
    counted: Counter[str] = Counter()
    for change in changes:
        moved = "" if change.new_key == change.key else f" -> {change.new_key or '(left out)'}"
        line = f"  {change.key}{moved}: {', '.join(step.value for step in change.steps)}"
        if change.lost:
            yield f"{line}; given up: {change.lost}"
        else:
            counted[re.sub(r"(?<![^./_ ])\d+(?![^./_ ])", "*", line)] += 1
    for line, count in counted.items():
        yield f"{line}  x{count}" if count > 1 else line
