"""The forms that releases read a checkpoint's FP8 extra states in: the table ``forms.toml``."""

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
    """Read the table of forms, by name."""
    rows = tables.load(tables.packaged("forms.toml"), _Forms).form
    return {form.name: form for form in rows}


def read_by(version: str) -> Form | None:
    """Return the form that a release reads, or None for a release that nobody looked at."""
    return next((form for form in load().values() if covers(form.read_by)(version)), None)
