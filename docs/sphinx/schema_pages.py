"""The directive ``json-schema``: every property of one of the package's JSON Schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from matrix.report import schema

Schema = dict[str, Any]

_WHOLE = "whole"


class JsonSchema(SphinxDirective):
    """Describes the schema that its argument names, as definition lists that refer to each other.

    ``$defs`` are listed after what uses them, each under its name.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the schema."""
        self.name = self.arguments[0]
        whole: Schema = json.loads((schema.folder() / f"{self.name}.schema.json").read_text())
        made = list(self._object(_WHOLE, whole))
        for name, part in whole.get("$defs", {}).items():
            made += [nodes.rubric("", name), *self._object(name, part)]
        return made

    def _object(self, name: str, part: Schema) -> Iterator[nodes.Node]:
        """Yield what describes one object, or one list of words; links lead to the first node."""
        head = nodes.paragraph(ids=[self._id(name)])
        head += self._text(part.get("description", ""))
        yield head
        if "properties" in part:
            required = part.get("required", ())
            yield nodes.definition_list(
                "",
                *(
                    self._property(key, value, key in required)
                    for key, value in part["properties"].items()
                ),
            )
        else:
            yield nodes.paragraph("", "", *self._type(part))

    def _property(self, name: str, part: Schema, required: bool) -> nodes.Node:
        term = nodes.term("", "", nodes.literal("", name), nodes.Text(": "), *self._type(part))
        if "default" in part:
            default = json.dumps(part["default"], ensure_ascii=False)
            term += [nodes.Text(", default "), nodes.literal("", default)]
        elif not required:
            term += nodes.Text(", optional")
        body = nodes.paragraph("", "", *self._text(part["description"]))
        return nodes.definition_list_item("", term, nodes.definition("", body))

    def _type(self, part: Schema) -> list[nodes.Node]:
        """Return the type as text, with links to the parts that it names."""
        match part:
            case {"$ref": str(target)}:
                name = target.rpartition("/")[2]
                found: list[nodes.Node] = [nodes.reference("", name, refid=self._id(name))]
            case {"anyOf": some} | {"oneOf": some}:
                found = self._joined([self._type(one) for one in some], " or ")
            case {"const": value}:
                found = [nodes.literal("", json.dumps(value))]
            case {"enum": values}:
                found = self._joined([[nodes.literal("", json.dumps(v))] for v in values], ", ")
            case {"type": "array", "items": dict(items)}:
                found = [nodes.Text("array of "), *self._type(items)]
            case {"type": "object", "additionalProperties": dict(values)}:
                found = [nodes.Text("object of "), *self._type(values)]
            case {"type": str(name)}:
                found = [nodes.Text(name)]
            case _:
                raise self.error(f"no words for this part of the schema {self.name}: {part}")
        return found

    def _joined(self, parts: list[list[nodes.Node]], between: str) -> list[nodes.Node]:
        made = list(parts[0])
        for part in parts[1:]:
            made += [nodes.Text(between), *part]
        return made

    def _text(self, text: str) -> list[nodes.Node]:
        found, messages = self.parse_inline(text)
        return [*found, *messages]

    def _id(self, name: str) -> str:
        return nodes.make_id(f"schema-{self.name}-{name}")


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directive to Sphinx."""
    app.add_directive("json-schema", JsonSchema)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
