"""Pipeline files for CI services: jobs that run one shard each, and one that merges and gates.

The files are rendered from ``templates/``, one for each service.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import jinja2

NAMES = {"github": "github.yml", "gitlab": "gitlab.yml"}
"""The file name for each service."""


def render(service: str, shards: int, selection: Sequence[str]) -> str:
    """Return the text of a service's pipeline file.

    :param service: a key of :data:`NAMES`.
    :param shards: the number of jobs that run the matrix.
    :param selection: arguments for ``te-matrix run`` that select the cells.
    """
    return _filled(
        NAMES[service],
        shards=shards,
        numbers=", ".join(str(number) for number in range(1, shards + 1)),
        selection=shlex.join(selection),
    )


def render_nightly(service: str, candidate: str) -> str:
    """Return the text of a pipeline file that qualifies a candidate every night.

    It also proposes releases that are new.

    :param service: a key of :data:`NAMES`.
    :param candidate: what ``te-matrix qualify`` takes, e.g. ``git:main``.
    """
    return _filled(f"nightly-{NAMES[service]}", candidate=shlex.quote(candidate))


def _filled(template: str, **values: Any) -> str:
    # The services use braces for variables of their own.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("matrix.gate.pipelines", "templates"),
        undefined=jinja2.StrictUndefined,
        variable_start_string="<<",
        variable_end_string=">>",
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{template}.j2").render(**values)
