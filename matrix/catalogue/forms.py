"""The forms of FP8 extra states in checkpoints, and the releases that read each."""

from __future__ import annotations

from typing import Literal

from packaging.version import Version

from matrix.catalogue import features, tables
from matrix.catalogue.ranges import covers
from matrix.errors import TableError

OWN = "own"
"""Name in place of a form's: the one that the loader reads."""


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
    global_state: bool = False
    """Whether the state contains ``global_fp8_buffer`` and ``global_fp8_state``."""
    operations: bool = True
    """Whether operations, such as norms, have extra states."""
    nothing: Literal["pickled None", "empty tensor"]
    """How the state of a module without FP8 metadata is saved."""

    def has_recipe(self, name: str) -> bool:
        """Return whether all releases that read the form have a recipe.

        :param name: the recipe's class.
        """
        row = features.load().recipes.get(name)
        first = Version(self.read_by.partition("-")[0])
        return self.recipe and row is not None and Version(row.since) <= first


class _Forms(tables.Row):
    form: tuple[Form, ...]


def load() -> dict[str, Form]:
    """Read the table of forms, and return them by name."""
    rows = tables.load(tables.packaged("forms.toml"), _Forms).form
    return {form.name: form for form in rows}


def read_by(version: str) -> Form | None:
    """Return the form that a release reads; None for releases that the table does not cover."""
    return next((form for form in load().values() if covers(form.read_by)(version)), None)


def of_variant(name: str, version: str) -> Form:
    """Return the form that a variant rewrites into for a loader.

    :param name: a form's name, or ``own``: the form that the loader reads.
    :param version: the loader.
    :raises TableError: there is no such form.
    """
    found = read_by(version) if name == OWN else load().get(name)
    if found is None:
        raise TableError(
            f"forms.toml has no form {name} for {version}",
            do="Extend the ranges of the form that it reads",
        )
    return found
