"""The forms of FP8 extra states in checkpoints, and the releases that read each."""

from __future__ import annotations

from typing import Literal

from matrix.catalogue import tables
from matrix.catalogue.ranges import covers


class Form(tables.Row):
    """One form of extra states."""

    name: str
    """Name of the form."""
    summary: str
    """The form in one line, for people."""
    read_by: str
    """Closed ranges of the releases that read it."""
    attention_key: Literal["none", "fused", "core"]
    """Key of the attention's state: ``core_attention``, ``core_attention.fused_attention``."""
    scale_inv: bool
    """Whether the state contains ``scale_inv``."""
    recipe: bool
    """Whether the state contains the recipe."""
    nothing: Literal["pickled None", "empty tensor"]
    """How the state of a module without FP8 metadata is saved."""


class _Forms(tables.Row):
    form: tuple[Form, ...]


def load() -> dict[str, Form]:
    """Read the table of forms, and return them by name."""
    rows = tables.load(tables.packaged("forms.toml"), _Forms).form
    return {form.name: form for form in rows}


def read_by(version: str) -> Form | None:
    """Return the form that a release reads; None for releases that the table does not cover."""
    return next((form for form in load().values() if covers(form.read_by)(version)), None)
