"""What a checkpoint holds apart from its weights, gathered file by file."""

from __future__ import annotations

import dataclasses

from matrix.checkpoint import objects
from matrix.checkpoint.nodes import Node
from matrix.checkpoint.states import ExtraState


@dataclasses.dataclass
class Contents:
    """What a checkpoint holds, apart from its weights.

    :param format: the checkpoint's format, for people.
    :param keys: number of keys whose values are tensors or extra states.
    :param classes: Transformer Engine's classes and functions that its pickles name;
        ``weights`` are those that rebuild its values, quantized weights for instance.
    :param strangers: what its pickles name beside those and what rebuilds tensors, with
        ``()`` where loading would call it.
    :param notes: what a reader should know about the format.
    :param rebuilt_from: numbers of arguments that quantized weights are rebuilt from.
    """

    format: str = ""
    files: int = 0
    keys: int = 0
    states: list[ExtraState] = dataclasses.field(default_factory=list)
    classes: set[str] = dataclasses.field(default_factory=set)
    weights: set[str] = dataclasses.field(default_factory=set)
    strangers: set[str] = dataclasses.field(default_factory=set)
    notes: list[str] = dataclasses.field(default_factory=list)
    rebuilt_from: set[int] = dataclasses.field(default_factory=set)

    def add_names(self, root: Node) -> None:
        """Add the classes and functions that a pickle names."""
        self.classes |= objects.te_names(root)
        self.strangers.update(objects.strangers(root))

    def add_state(self, state: ExtraState) -> None:
        """Add one extra state."""
        self.keys += 1
        self.states.append(state)
        self.classes |= state.classes
        self.strangers.update(state.strangers)
