"""The command line ``te-matrix``: reads options, prints, and sets the exit code.

Every command has a module of its name; ``judge`` and ``report`` are in ``verdicts``. The
module ``options`` has the options that several commands share.

===============================  ==============================================
``releases``, ``scenarios``,     the catalogue, and what a selection means
``plan``
``run``, ``merge``, ``export``   measuring, and bringing evidence together
``verdicts``, ``bands``,         what the evidence says
``diff``, ``explain``,
``fidelity``, ``pytorches``
``qualify``                      a candidate, held against the release before it
``gate``, ``ledger``, ``ci``     the gate, known deviations, pipeline files
``bisect``                       the commits at which outcomes change
``images``                       images for the docker runner
``binding``                      the stand-in, held against compiled extensions
``inspect``, ``remap``           checkpoint files
``schema``                       JSON Schemas of reports and tables
``options``                      options that several commands share
===============================  ==============================================
"""

from __future__ import annotations

from typing import Any

import click

from matrix import __version__
from matrix.cli.bands import bands_command
from matrix.cli.binding import binding_command
from matrix.cli.bisect import bisect_command
from matrix.cli.ci import ci_command
from matrix.cli.diff import diff_command
from matrix.cli.explain import explain_command
from matrix.cli.export import export_command
from matrix.cli.fidelity import fidelity_command
from matrix.cli.gate import gate_command
from matrix.cli.images import images_command
from matrix.cli.inspect import inspect_command
from matrix.cli.ledger import ledger_command
from matrix.cli.merge import merge_command
from matrix.cli.plan import plan_command
from matrix.cli.pytorches import pytorches_command
from matrix.cli.qualify import qualify_command
from matrix.cli.releases import releases_command
from matrix.cli.remap import remap_command
from matrix.cli.run import run_command
from matrix.cli.scenarios import scenarios_command
from matrix.cli.schema import schema_command
from matrix.cli.verdicts import judge_command, report_command
from matrix.errors import MatrixError
from matrix.system.collector import gc_paused


class MatrixGroup(click.Group):
    """A group of commands whose expected errors become one line and an exit code."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            # A command makes objects by the million and keeps them until it ends.
            with gc_paused():
                return super().invoke(context)
        except MatrixError as error:
            click.echo(f"te-matrix: {error}", err=True)
            context.exit(int(error.exit_code))
        except KeyboardInterrupt:
            click.echo("te-matrix: interrupted; what is finished is kept, run again", err=True)
            context.exit(130)


@click.group(cls=MatrixGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="te-matrix")
def main() -> None:
    """Does an FP8 checkpoint of one Transformer Engine release load in another?

    Exit codes: 0 agrees with the FAQ or is a known deviation, 1 deviates, 2 usage,
    3 incomplete, 4 something of ours or around us failed, 5 a checkpoint is unsafe to load.
    """


for command in (
    releases_command,
    scenarios_command,
    plan_command,
    run_command,
    judge_command,
    report_command,
    gate_command,
    qualify_command,
    ci_command,
    explain_command,
    images_command,
    bands_command,
    diff_command,
    bisect_command,
    merge_command,
    export_command,
    fidelity_command,
    binding_command,
    pytorches_command,
    ledger_command,
    schema_command,
    inspect_command,
    remap_command,
):
    main.add_command(command)
