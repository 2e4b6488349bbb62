"""Pipeline files for plain CI: jobs that each run one shard, and one that merges and gates."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import jinja2

NAMES = {"github": "github.yml", "gitlab": "gitlab.yml"}
"""The file of each service."""


def render(service: str, shards: int, selection: Sequence[str]) -> str:
    """Return a service's pipeline file.

    :param service: a key of :data:`NAMES`.
    :param shards: how many jobs run the matrix.
    :param selection: selection options, word by word, for `te-matrix run`.
    """
    # Both services write their own variables in braces.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("matrix.gate.pipelines", "templates"),
        undefined=jinja2.StrictUndefined,
        variable_start_string="<<",
        variable_end_string=">>",
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{NAMES[service]}.j2").render(
        shards=shards,
        numbers=", ".join(str(number) for number in range(1, shards + 1)),
        selection=shlex.join(selection),
    )
