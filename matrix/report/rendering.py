"""Render the Jinja2 templates; values in HTML and SVG are escaped."""

from __future__ import annotations

import functools
import re
from typing import Any

import jinja2

from matrix.system.counting import counted

MAX_CAUSES = 50
"""The most causes of one standing in a report or a summary in Markdown."""
MAX_TABLES = 30
"""The most tables of bands in a report or a summary in Markdown."""
_CODE = re.compile(r"te-matrix remap(?: (?:IN|OUT|--[\w-]+|RELEASE|bf16|attention))*|[A-Z_]{5,}=1")
_ESCAPED = (".html.j2", ".svg.j2")


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("matrix.report", "templates"),
        autoescape=lambda name: bool(name and name.endswith(_ESCAPED)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["one_line"] = lambda text: " ".join(str(text or "").split())[:160]
    environment.filters["cell"] = markdown_cell
    environment.filters["counted"] = counted
    environment.filters["code"] = with_code
    environment.globals["most"] = MAX_CAUSES
    environment.globals["most_tables"] = MAX_TABLES
    return environment


def markdown_cell(text: str) -> str:
    """Return text escaped for a cell of a Markdown table."""
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    for mark in ("\\", "|", "`", "*", "_", "[", "]"):
        plain = plain.replace(mark, "\\" + mark)
    return plain


def with_code(text: str) -> str:
    """Return text with its commands and settings marked as code in Markdown."""
    return _CODE.sub(r"`\g<0>`", text)


def render(template: str, **values: Any) -> str:
    """Return a template filled with values.

    :param template: its file name.
    """
    return _environment().get_template(template).render(**values)


def source(name: str) -> str:
    """Return the text of a file beside the templates, such as the page's script."""
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def badge(lane: str, exit_code: int, title: str = "") -> str:
    """Return an SVG badge that says whether a release qualifies, and on which lane.

    :param title: what is held against what, where that is to be said.
    """
    subject = f"{title}: " if title else ""
    return render(
        "badge.svg.j2",
        label="FP8 checkpoints",
        answer=f"{subject}{verdict_words(exit_code)} ({lane})",
        good=exit_code == 0,
    )


def verdict_words(exit_code: int) -> str:
    """Return whether a release qualifies, from the exit code of its gate."""
    return {0: "qualified", 1: "not qualified"}.get(exit_code, "not decided")
