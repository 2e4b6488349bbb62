"""JSON Schemas of everything that other programs may read or write, made from its types.

The schemas in ``matrix/report/schemas`` ship with the package; a test compares them with the
types. The schema of a TOML file describes the equivalent JSON, with dates as strings.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

from matrix.catalogue.changes import Changes
from matrix.catalogue.faq import Faq
from matrix.catalogue.releases import Releases
from matrix.catalogue.scenarios import Scenarios, Variants
from matrix.errors import StoreError, os_errors_as
from matrix.judge.ledger import Ledger
from matrix.report.compat import CompatFile
from matrix.report.document import ReportFile
from matrix.report.sheet import Sheet
from matrix.store.archive import ArchiveFooter, ArchiveHeader
from matrix.store.records import Attempt, Load, Save
from matrix.system import shipped

_DIALECT = "https://json-schema.org/draft/2020-12/schema"

Line = (
    Annotated[Save | Load | Attempt, Field(discriminator="record")] | ArchiveHeader | ArchiveFooter
)
"""A record of a store, or any line of an exported file."""

_KINDS: dict[str, tuple[str, Any]] = {
    "report": ("report.json", ReportFile),
    "qualification": ("qualification.json", Sheet),
    "compat": ("the file of te-matrix export --compat", CompatFile),
    "evidence": ("a record of a store, or a line of an exported file", Line),
    "releases": ("releases.toml", Releases),
    "faq": ("faq.toml", Faq),
    "ledger": ("ledger.toml", Ledger),
    "scenarios": ("scenarios.toml", Scenarios),
    "variants": ("variants.toml", Variants),
    "changes": ("changes.toml", Changes),
}

NAMES = tuple(_KINDS)
"""Names of the schemas."""


class _Described(GenerateJsonSchema):
    """Schemas in which every property has the docstring below its field as description.

    pydantic's ``use_attribute_docstrings`` does the same when a model is defined, by parsing
    its source. That would slow down every start of te-matrix by about a quarter.
    """

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        model = schema["cls"]
        descriptions = _attribute_docstrings(model)
        for name, field in model.model_fields.items():
            made["properties"][field.alias or name]["description"] = descriptions[name]
        return made


def _attribute_docstrings(model: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class and of its bases, by field."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not base.__module__.startswith("matrix."):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for field, below in itertools.pairwise(tree.body):
            match field, below:
                case ast.AnnAssign(ast.Name(name)), ast.Expr(ast.Constant(str(docstring))):
                    found[name] = inspect.cleandoc(docstring)
    return found


def text(name: str) -> str:
    """Return the text of a schema.

    :param name: one of :data:`NAMES`.
    """
    title, kind = _KINDS[name]
    mode: Literal["serialization", "validation"] = (
        "serialization" if name in ("report", "qualification", "compat") else "validation"
    )
    made = TypeAdapter(kind).json_schema(mode=mode, schema_generator=_Described)
    whole = {"$schema": _DIALECT, "title": f"te-matrix: {title}"} | {
        key: value for key, value in made.items() if key != "title"
    }
    return json.dumps(whole, indent=1) + "\n"


def folder() -> Path:
    """Return the folder of the schemas that ship with the package."""
    return shipped.PACKAGE / "report" / "schemas"


def write(place: Path) -> list[Path]:
    """Write all schemas to a folder, and return their paths.

    :raises StoreError: the folder cannot be written.
    """
    found = []
    for name in NAMES:
        path = place / f"{name}.schema.json"
        with os_errors_as(StoreError, f"{path} cannot be written"):
            place.mkdir(parents=True, exist_ok=True)
            path.write_text(text(name))
        found.append(path)
    return found
