"""JSON Schemas of everything that others may read or write, made from the types that do.

They are checked in below ``matrix/report/schemas`` and ship with the package; a test holds them
against the types. A TOML file is meant as the JSON it stands for, dates as strings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from matrix.catalogue.faq import Faq
from matrix.catalogue.releases import Releases
from matrix.catalogue.scenarios import Scenarios, Variants
from matrix.errors import StoreError
from matrix.judge.ledger import Ledger
from matrix.report.document import Report
from matrix.store.archive import Footer, Header
from matrix.store.records import Attempt, Load, Save
from matrix.system import shipped

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

Line = Annotated[Save | Load | Attempt, Field(discriminator="record")] | Header | Footer
"""A record of a store, or any line of an exported file."""

_KINDS: dict[str, tuple[str, Any]] = {
    "report": ("report.json", Report),
    "evidence": ("a record of a store, or a line of an exported file", Line),
    "releases": ("releases.toml", Releases),
    "faq": ("faq.toml", Faq),
    "ledger": ("ledger.toml", Ledger),
    "scenarios": ("scenarios.toml", Scenarios),
    "variants": ("variants.toml", Variants),
}

NAMES = tuple(_KINDS)


def text(name: str) -> str:
    """Return a schema as the text of its file.

    :param name: one of :data:`NAMES`.
    """
    title, kind = _KINDS[name]
    mode: Literal["serialization", "validation"] = (
        "serialization" if name == "report" else "validation"
    )
    made = TypeAdapter(kind).json_schema(mode=mode)
    whole = {"$schema": _DIALECT, "title": f"te-matrix: {title}"} | {
        key: value for key, value in made.items() if key != "title"
    }
    return json.dumps(whole, indent=1) + "\n"


def folder() -> Path:
    """Return where the schemas ship."""
    return shipped.PACKAGE / "report" / "schemas"


def write(place: Path) -> list[Path]:
    """Write every schema to a folder and return the paths.

    :raises StoreError: the folder cannot be written.
    """
    found = []
    for name in NAMES:
        path = place / f"{name}.schema.json"
        try:
            place.mkdir(parents=True, exist_ok=True)
            path.write_text(text(name))
        except OSError as error:
            raise StoreError(f"{path} cannot be written", why=str(error)) from error
        found.append(path)
    return found
