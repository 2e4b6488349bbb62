"""The help texts of commands, which click takes as plain text and Sphinx as reStructuredText."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

_PARTS = ("description", "options", "arguments", "epilog")


def as_restructured_text(_app: Sphinx, _context: object, lines: list[str]) -> None:
    """Mark up code, and escape what would be markup; changes the lines in place."""
    lines[:] = [_marked_up(line) for line in lines]


def _marked_up(line: str) -> str:
    code = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)
    outside = re.split(r"(``[^`]+``)", code)
    outside[::2] = [re.sub(r"[*|]", r"\\\g<0>", text) for text in outside[::2]]
    return "".join(outside)


def setup(app: Sphinx) -> dict[str, bool]:
    """Have sphinx-click hand over each part of a command's help."""
    app.setup_extension("sphinx_click")
    for part in _PARTS:
        app.connect(f"sphinx-click-process-{part}", as_restructured_text)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
