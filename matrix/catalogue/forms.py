"""The forms in which releases read FP8 extra states: the table ``forms.toml``."""

from __future__ import annotations

from typing import Literal

from matrix.catalogue import tables
from matrix.catalogue.ranges import covers


class Form(tables.Row):
    """One form of extra states; ``forms.toml`` explains the fields."""

    name: str
    summary: str
    read_by: str
    attention_key: Literal["none", "fused", "core"]
    scale_inv: bool
    recipe: bool
    nothing: Literal["pickled None", "empty tensor"]


class _Forms(tables.Row):
    form: tuple[Form, ...]


def load() -> dict[str, Form]:
    """Return the forms by name.

    :raises TableError: the table has a mistake.
    """
    rows = tables.load(tables.packaged("forms.toml"), _Forms).form
    return {form.name: form for form in rows}


def read_by(version: str) -> Form | None:
    """Return the form that a release reads, or None for a release that no form lists."""
    return next((form for form in load().values() if covers(form.read_by)(version)), None)
