"""What a checkpoint holds apart from its weights, collected file by file."""

from __future__ import annotations

import dataclasses

from matrix.checkpoint import names
from matrix.checkpoint.nodes import Node
from matrix.checkpoint.states import ExtraState


@dataclasses.dataclass
class Contents:
    """What a checkpoint holds, apart from its weights."""

    format: str = ""
    """The checkpoint's format, as text for users."""
    files: int = 0
    """Number of files read, or named by an index."""
    keys: int = 0
    """Number of keys whose values are tensors or extra states."""
    states: list[ExtraState] = dataclasses.field(default_factory=list)
    foreign: list[ExtraState] = dataclasses.field(default_factory=list)
    """Extra states that are not Transformer Engine's; they are left alone."""
    classes: set[str] = dataclasses.field(default_factory=set)
    """Transformer Engine's classes and functions that the pickles name."""
    weights: set[str] = dataclasses.field(default_factory=set)
    """Those of ``classes`` that rebuild values, such as quantized weights."""
    unknown_names: set[str] = dataclasses.field(default_factory=set)
    """Other names in the pickles that do not rebuild tensors; see :func:`names.unknown_names`."""
    notes: list[str] = dataclasses.field(default_factory=list)
    """Limitations of the format that users should know."""
    unsearched: list[str] = dataclasses.field(default_factory=list)
    """Places that may hold extra states and were not searched for them."""
    ranks: dict[str, int] = dataclasses.field(default_factory=dict)
    """Numbers of ranks that the checkpoint says it has: tensor, pipeline, expert, data."""
    rebuilt_from: set[int] = dataclasses.field(default_factory=set)
    """Numbers of arguments that quantized weights are rebuilt from."""

    def add_names(self, root: Node) -> None:
        """Add the classes and functions that a pickle names."""
        self.classes |= names.te_names(root)
        self.unknown_names.update(names.unknown_names(root))

    def add_note(self, note: str) -> None:
        """Add a limitation, once."""
        if note not in self.notes:
            self.notes.append(note)

    def add_state(self, state: ExtraState) -> None:
        """Add one extra state."""
        self.keys += 1
        (self.foreign if state.foreign else self.states).append(state)
        self.classes |= state.classes
        self.unknown_names.update(state.unknown_names)
