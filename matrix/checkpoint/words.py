"""Closed words of checkpoints: what a file is, and how and what an extra state holds."""

from __future__ import annotations

from matrix.catalogue.words import Word


class TorchKind(Word):
    """What kind of file ``torch.save`` wrote, if it did."""

    ZIP = "torch.save (zip)"
    LEGACY = "torch.save (legacy)"
    PICKLE = "plain pickle"


class StateContainer(Word):
    """What Transformer Engine saves an extra state in."""

    BYTES_IO = "BytesIO"
    BYTE_TENSOR = "byte tensor"
    EMPTY_TENSOR = "empty tensor"
    NONE = "None"


class Holds(Word):
    """What an extra state holds: what a loader that resets it would lose."""

    NOTHING = "nothing"
    DEFAULTS = "defaults"
    METADATA = "metadata"
    UNREADABLE = "unreadable"


class Step(Word):
    """What rewriting does to one extra state; the module ``edits`` explains each."""

    MAP_KEY = "map-key"
    UNMAP_KEY = "unmap-key"
    DROP_REGISTRATION = "drop-registration"
    ADD_SCALE_INV = "add-scale-inv"
    ADD_RECIPE = "add-recipe"
    SPELL_OUT_NOTHING = "spell-out-nothing"
    EMPTY_NOTHING = "empty-nothing"
    DROP_STATE = "drop-state"
