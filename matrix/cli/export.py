"""``te-matrix export``: a store's evidence as one file, for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from matrix.cli.options import date, with_store
from matrix.cli.runs import records
from matrix.errors import UsageError
from matrix.store import archive


@click.command("export")
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@with_store
def export_command(path: Path, store: str, today: Any) -> None:
    """Write every save and load of a store to FILE: .jsonl, or .jsonl.gz. Checkpoints stay."""
    if not archive.is_exported(path.name):
        raise UsageError(
            f"{path} does not say what it is", do="Let its name end in .jsonl or .jsonl.gz"
        )
    count = archive.write(path, records(store), date(today).isoformat())
    click.echo(f"{path}: {count} records")
