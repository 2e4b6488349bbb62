"""The selection options, as every command and the pytest plugin parse them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from matrix.catalogue.selection import DEFAULTS, GRAMMAR, Selection
from matrix.catalogue.words import Lane, RunnerName
from matrix.errors import UsageError
from matrix.workflow.selecting import Request

FIELDS = (*Selection.model_fields, "candidate_as", "ledger_file")
"""The names under which click passes the values of the selection options."""

_FILE = click.Path(path_type=Path)
_OPTIONS = (
    click.option("--releases", help=f"{GRAMMAR}  [default: {DEFAULTS['releases']}]"),
    click.option("--saved-by", help="savers only; the same grammar"),
    click.option("--loaded-by", help="loaders only; the same grammar"),
    click.option("--scenario", help=f"NAME,... | all  [default: {DEFAULTS['scenario']}]"),
    click.option("--variant", help=f"NAME,... | all  [default: {DEFAULTS['variant']}]"),
    click.option(
        "--candidate",
        multiple=True,
        metavar="PATH|IMAGE",
        help="a TE source tree, wheel or image under test, as one more release",
    ),
    click.option(
        "--candidate-as",
        type=click.Choice(["loader", "saver", "both"]),
        help="which of a candidate's cells are planned  [gate: loader; else both]",
    ),
    click.option(
        "--lane",
        type=click.Choice([lane.value for lane in Lane]),
        help="what runs TE  [default: gpu in docker, else cpu]",
    ),
    click.option(
        "--runner",
        type=click.Choice([runner.value for runner in RunnerName]),
        help="where: here, or in a container per release  [default: local]",
    ),
    click.option(
        "--images-lock",
        type=_FILE,
        help="docker: the locked base images to build on  [TE_MATRIX_IMAGES_LOCK]",
    ),
    click.option("--base", help="docker: a base image of your own instead of the lock's"),
    click.option("--size", help="a size of scenarios.toml instead of each scenario's own"),
    click.option(
        "--scenarios", "scenario_file", type=_FILE, help="a file with scenarios of your own"
    ),
    click.option(
        "--ledger",
        "ledger_file",
        type=_FILE,
        help="a file with ledger entries of your own, beside the packaged ones",
    ),
)


def with_selection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the selection options to a click command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def request(*, candidate_as: str | None, ledger_file: Path | None, **selection: Any) -> Request:
    """Return the request that the values of the selection options make."""
    return Request(Selection(**selection), candidate_as, ledger_file)


def parse(argv: Sequence[str]) -> Request:
    """Return the request that a list of selection options makes.

    :raises UsageError: it holds anything else.
    """
    command = click.command("selection")(with_selection(lambda **_values: None))
    try:
        with command.make_context("selection", list(argv)) as context:
            return request(**context.params)
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
