"""Options that several commands share, and the typed arguments that commands get for them."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from matrix.catalogue.selection import DEFAULTS
from matrix.lane import git
from matrix.lane.measure import CELL_TIMEOUT
from matrix.store.store import Store
from matrix.workflow import arguments
from matrix.workflow.containers import ContainerOptions
from matrix.workflow.parts import PlanPart
from matrix.workflow.runners import RunnerFactory
from matrix.workflow.selecting import Selected

STORE = "te-matrix-store"
REPORT = "te-matrix-report"
DATE = click.DateTime(["%Y-%m-%d"])

Command = Callable[..., Any]


def gathered(
    name: str, fields: Sequence[str], make: Callable[..., Any]
) -> Callable[[Command], Command]:
    """Return a decorator by which a command takes several options as one argument.

    :param name: the name of the argument.
    :param fields: the names of the options.
    :param make: makes the argument; called with the options by name.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathering(**values: Any) -> Any:
            made = make(**{field: values.pop(field) for field in fields})
            return command(**values, **{name: made})

        return gathering

    return decorate


def gathered_in(record: type[Any], name: str) -> Callable[[Command], Command]:
    """Return a decorator by which a command takes options as one dataclass instance.

    :param record: the dataclass; its fields are the names of the options.
    :param name: the name of the argument.
    """
    return gathered(name, [field.name for field in dataclasses.fields(record)], record)


def _with(command: Command, *options: Callable[[Command], Command]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def with_selection(command: Command, defaults: Mapping[str, str] = DEFAULTS) -> Command:
    """Add the selection options to a command. It takes them as ``request``.

    :param defaults: what the command selects where an option is left out, for the help texts.
    """
    gathering = gathered("request", arguments.FIELDS, arguments.request)
    return arguments.with_selection(gathering(command), defaults)


def with_store(command: Command) -> Command:
    """Add ``--store`` to a command. It takes the :class:`Store` as ``store``."""
    return click.option(
        "--store",
        default=STORE,
        show_default=True,
        callback=to_store,
        help="a folder, or any fsspec URL",
    )(command)


def with_allow(command: Command) -> Command:
    """Add ``--allow`` to a command that reads a checkpoint. It takes the names as ``allow``."""
    return click.option(
        "--allow",
        metavar="NAME",
        multiple=True,
        help="a class or function in its pickles that you know; repeat it for others",
    )(command)


def to_store(_context: click.Context, _option: click.Parameter, given: str) -> Store:
    """Return the store for the value of an option."""
    return Store(given)


def with_today(command: Command) -> Command:
    """Add ``--today`` to a command that judges. It takes the date as ``today``."""
    return click.option(
        "--today",
        type=DATE,
        callback=today,
        help="the date that ledger entries expire by  [default: today]",
    )(command)


def today(
    _context: click.Context, _option: click.Parameter, given: datetime.datetime | None
) -> datetime.date:
    """Return the date for the value of an option; by default the current date."""
    return given.date() if given else datetime.date.today()


def with_band(command: Command) -> Command:
    """Add ``--band`` to a command that can do its work for one band alone."""
    return click.option("--band", help="do this band's releases alone, and judge nothing")(command)


def with_part(command: Command) -> Command:
    """Add ``--phase``, ``--band`` and ``--shard`` to a command. It takes them as ``part``."""
    return _with(
        gathered_in(PlanPart, "part")(command),
        click.option(
            "--phase",
            type=click.Choice(["save", "cross-load"]),
            help="do this phase alone, and judge nothing; a later run does the rest",
        ),
        with_band,
        click.option(
            "--shard",
            metavar="K/N",
            help="do the Kth of N parts of equal cost, and judge nothing; `te-matrix merge` "
            "joins them",
        ),
    )


def with_report(command: Command) -> Command:
    """Add ``--report`` to a command that writes a report. It takes the path as ``folder``."""
    path = click.Path(path_type=Path)
    return click.option("--report", "folder", type=path, default=Path(REPORT))(command)


def with_against(command: Command) -> Command:
    """Add ``--against`` to a command that holds candidates against a baseline."""
    return click.option(
        "--against",
        metavar="RELEASE|STORE|report.json",
        help="the baseline of candidates  [default: the newest release before, as recorded]",
    )(command)


def with_git_url(command: Command) -> Command:
    """Add ``--git-url`` to a command that fetches sources."""
    return click.option("--git-url", help="git repository or mirror  [TE_MATRIX_GIT_URL]")(command)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalArguments:
    """Options of the commands that measure on this machine; their help explains them."""

    jobs: int
    timeout: float
    git_url: str | None
    offline: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasuringArguments(LocalArguments):
    """Options of the commands that measure here or on a cluster; their help explains them."""

    scheduler: str | None

    def factory(self, selected: Selected, containers: ContainerOptions) -> RunnerFactory:
        """Return what makes the runner of a selection."""
        url = git.chosen_url(self.git_url)
        return RunnerFactory(selected.without_evidence(), containers, url, self.offline)


_JOBS_AND_TIMEOUT = (
    click.option("--jobs", type=click.IntRange(1), default=os.cpu_count(), show_default=True),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=CELL_TIMEOUT,
        show_default=True,
        help="seconds that one save or load may take",
    ),
)
_SOURCES = (
    with_git_url,
    click.option(
        "--offline", is_flag=True, help="fetch no sources; use what is cached or recorded"
    ),
)


def with_local(command: Command) -> Command:
    """Add the options of measuring on this machine to a command. It takes them as ``local``."""
    gathering = gathered_in(LocalArguments, "local")(command)
    return _with(gathering, *_JOBS_AND_TIMEOUT, *_SOURCES)


def with_measuring(command: Command) -> Command:
    """Add the options of measuring to a command. It takes them as ``measuring``."""
    return _with(
        gathered_in(MeasuringArguments, "measuring_options")(command),
        *_JOBS_AND_TIMEOUT,
        click.option(
            "--scheduler",
            metavar="ADDRESS|FILE|local[:N]",
            help="run on a Dask cluster: address or file of its scheduler, or N workers here",
        ),
        *_SOURCES,
    )


def with_json(text: str = "print JSON") -> Callable[[Command], Command]:
    """Return a decorator that adds ``--json`` to a command, as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def with_containers(command: Command) -> Command:
    """Add the options of images and containers to a command. It takes them as ``containers``."""
    return _with(
        gathered_in(ContainerOptions, "containers")(command),
        click.option(
            "--allow-unpinned", is_flag=True, help="allow base images whose digest is not locked"
        ),
        click.option(
            "--gpu",
            help="index or UUID of the GPU  [default: 0; without containers the first in "
            "CUDA_VISIBLE_DEVICES]",
        ),
        click.option(
            "--memory",
            default="8g",
            show_default=True,
            callback=_memory,
            help="memory limit of one container, e.g. 512m",
        ),
        click.option(
            "--keep-images",
            type=click.IntRange(1),
            help="keep the images of at most this many releases, and remove older ones",
        ),
    )


def _memory(_context: click.Context, _option: click.Parameter, given: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]*[kmg]", given):
        raise click.BadParameter(f"{given} is no size; write it like 8g or 512m")
    return given
