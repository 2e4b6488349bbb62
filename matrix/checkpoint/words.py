"""Enumerations: kinds of files, containers and contents of extra states, rewrite steps."""

from __future__ import annotations

from matrix.catalogue.words import Word


class TorchKind(Word):
    """The kinds of files that can be read as a file of ``torch.save``."""

    ZIP = "torch.save (zip)"
    LEGACY = "torch.save (legacy)"
    PICKLE = "plain pickle"


class StateContainer(Word):
    """The types of value that Transformer Engine saves as an extra state."""

    BYTES_IO = "BytesIO"
    BYTE_TENSOR = "byte tensor"
    EMPTY_TENSOR = "empty tensor"
    """Of bytes; ``base.py`` of ``pytorch/module`` from 2.4 on."""
    EMPTY_FLOATS = "empty float32 tensor"
    """What an operation without slots for metadata, such as a norm, saves in 1.13 and 1.14:
    ``torch.Tensor()`` in ``pytorch/ops/op.py``."""
    NONE = "None"


class Holds(Word):
    """The content of an extra state, as far as a reset would lose it."""

    NOTHING = "nothing"
    """The module was saved without FP8 state."""
    DEFAULTS = "defaults"
    """Every scale is 1, every amax 0."""
    METADATA = "metadata"
    """Scales and amaxes of training."""
    UNREADABLE = "unreadable"


class Step(Word):
    """The steps that rewrite an extra state; :mod:`edits` explains each."""

    MAP_KEY = "map-key"
    UNMAP_KEY = "unmap-key"
    DROP_REGISTRATION = "drop-registration"
    ADD_SCALE_INV = "add-scale-inv"
    ADD_RECIPE = "add-recipe"
    SET_HISTORY = "set-history"
    DROP_RECIPE = "drop-recipe"
    ADD_GLOBAL_STATE = "add-global-state"
    MERGE_MODES = "merge-modes"
    SPLIT_MODES = "split-modes"
    UNDO_CAST = "undo-cast"
    SPELL_OUT_NOTHING = "spell-out-nothing"
    EMPTY_NOTHING = "empty-nothing"
    DROP_KEY = "drop-key"
    ADD_KEY = "add-key"
    DROP_STATE = "drop-state"
