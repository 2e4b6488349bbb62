"""The table of saboteurs, read strictly."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from matrix.catalogue import tables

HERE = Path(__file__).parent
SPOILT = "X"
"""What stands for the spoilt release."""


class Bench(tables.Row):
    """What a spoilt release is tried against; ``saboteurs.toml`` explains the fields."""

    name: str
    release: str
    others: tuple[str, ...]
    candidate_as: Literal["loader", "both"] = "loader"
    scenario: str = "autocast"
    variant: str = "plain"


class Wound(tables.Row):
    """What a fault must make worse: as what, and for which reason."""

    worse: tuple[str, ...] = Field(min_length=1)
    seen: str
    cause: str = ""

    def covers(self, thing: str) -> bool:
        """Tell whether a cell, save or control is among what this is about."""
        return any(fnmatchcase(thing, pattern) for pattern in self.worse)


class Saboteur(tables.Row):
    """One fault on one bench, and all that a qualification must say."""

    fault: str
    bench: str
    wound: tuple[Wound, ...] = Field(min_length=1)

    @property
    def summary(self) -> str:
        """What the fault does, in its own words."""
        first, *_rest = self.path.read_text(encoding="utf-8").splitlines()
        return first.strip('"').rstrip(".")

    @property
    def path(self) -> Path:
        """The fault's file."""
        return HERE / "faults" / f"{self.fault}.py"


class Table(tables.Row):
    """The whole of ``saboteurs.toml``."""

    bench: tuple[Bench, ...]
    saboteur: tuple[Saboteur, ...]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        benches = [bench.name for bench in self.bench]
        for row in self.saboteur:
            if row.bench not in benches or not row.path.is_file():
                raise ValueError(f"{row.fault} has no bench {row.bench}, or no file")
        return self

    def on(self, bench: Bench) -> list[Saboteur]:
        """Return the saboteurs that are tried on a bench."""
        return [row for row in self.saboteur if row.bench == bench.name]


def markdown(known: Table) -> str:
    """Return the table for ``docs/proof.md``: what is planted, and what must be said of it."""
    lines = [
        "| fault | what it does | tried on | worse | as what | named cause |",
        "|---|---|---|---|---|---|",
    ]
    for row in known.saboteur:
        worse, seen, causes = (
            "<br>".join(dict.fromkeys(filter(None, texts)))
            for texts in (
                [f"`{pattern}`" for wound in row.wound for pattern in wound.worse],
                [wound.seen for wound in row.wound],
                [wound.cause.replace("|", "\\|") for wound in row.wound],
            )
        )
        lines.append(f"| {row.fault} | {row.summary} | {row.bench} | {worse} | {seen} | {causes} |")
    return "\n".join(lines) + "\n"


def load() -> Table:
    """Read the table.

    :raises TableError: it is malformed, or names a bench or a file that is not there.
    """
    return tables.load(HERE / "saboteurs.toml", Table)
