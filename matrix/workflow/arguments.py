"""The selection options, which commands and the pytest plugin parse in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from matrix.catalogue.selection import DEFAULTS, GRAMMAR, Selection
from matrix.catalogue.words import Lane, RunnerName
from matrix.errors import UsageError
from matrix.workflow.selecting import Request

FIELDS = (*Selection.model_fields, "candidate_as", "ledger_file")
"""The parameter names of the selection options in click."""

_FILE = click.Path(path_type=Path)
_OPTIONS = (
    click.option(
        "--candidate",
        multiple=True,
        metavar="PATH|IMAGE|git:REF",
        help="a TE source tree, wheel, image or git ref to test, added to the releases",
    ),
    click.option(
        "--candidate-as",
        type=click.Choice(["loader", "saver", "both"]),
        help="which cells of a candidate are planned  [default: both]",
    ),
    click.option(
        "--lane",
        type=click.Choice([lane.value for lane in Lane]),
        help="how TE is executed  [default: gpu with docker, else cpu]",
    ),
    click.option(
        "--runner",
        type=click.Choice([runner.value for runner in RunnerName]),
        help="where it is executed: here, or in one container per release  [default: local]",
    ),
    click.option(
        "--images-lock",
        type=_FILE,
        help="docker: the lock file of base images  [TE_MATRIX_IMAGES_LOCK]",
    ),
    click.option("--base", help="docker: a base image to use instead of the locked ones"),
    click.option(
        "--binding",
        metavar="FOLDER|auto",
        help="cpu: run on compiled extensions, as `te-matrix binding` builds them",
    ),
    click.option("--size", help="a size from scenarios.toml, instead of the scenario's own"),
    click.option(
        "--scenarios", "scenario_file", type=_FILE, help="a TOML file with further scenarios"
    ),
    click.option(
        "--ledger",
        "ledger_file",
        type=_FILE,
        help="a TOML file with further ledger entries",
    ),
)


def with_selection(
    command: Callable[..., Any], defaults: Mapping[str, str] = DEFAULTS
) -> Callable[..., Any]:
    """Add the selection options to a click command.

    :param defaults: what the command selects where an option is left out, for the help texts.
    """
    names = "NAME,... | all"
    selecting = (
        click.option("--releases", help=f"{GRAMMAR}  [default: {defaults['releases']}]"),
        click.option("--saved-by", help="releases that save, in the same form"),
        click.option("--loaded-by", help="releases that load, in the same form"),
        click.option("--scenario", help=f"{names}  [default: {defaults['scenario']}]"),
        click.option("--variant", help=f"{names}  [default: {defaults['variant']}]"),
    )
    for option in reversed((*selecting, *_OPTIONS)):
        command = option(command)
    return command


def request(*, candidate_as: str | None, ledger_file: Path | None, **selection: Any) -> Request:
    """Return the request for given values of the selection options.

    :param selection: the fields of :class:`Selection`.
    """
    return Request(Selection(**selection), candidate_as, ledger_file)


def parse(argv: Sequence[str]) -> Request:
    """Parse selection options.

    :param argv: the options and their values, as on a command line.
    :raises UsageError: there is anything else in it.
    """
    command = click.command("selection")(with_selection(lambda **_values: None))
    try:
        with command.make_context("selection", list(argv)) as context:
            return request(**context.params)
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
