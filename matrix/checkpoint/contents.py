"""What a checkpoint holds apart from its weights, collected file by file."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection
from typing import NamedTuple

from matrix.checkpoint import limits
from matrix.checkpoint.errors import Refused
from matrix.checkpoint.lookups import Lookups
from matrix.checkpoint.quantized.summary import QuantizedWeights
from matrix.checkpoint.states import KEY, ExtraState
from matrix.system.counting import counted


class TensorKind(NamedTuple):
    """What is known of a tensor without reading it."""

    dimensions: int | None
    """Number of its dimensions; None where that is not known, as of a quantized weight."""
    rebuilt_by: str = ""
    """What rebuilds a quantized weight, see :func:`names.rebuilt_by`; empty for a plain tensor."""


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
    tensors: dict[str, TensorKind] = dataclasses.field(default_factory=dict)
    """The tensors beside the extra states, by key. Copies of a key, as ranks have them, are one;
    keys that are no text, and tensors of which nothing is known but that they are, are left out."""
    weight_places: dict[str, list[tuple[str, str]]] = dataclasses.field(default_factory=dict)
    """Where ``weight`` of one dimension lies in files of ``torch.save``: file and state dict, see
    ``ExtraState.inside``, by path of the module. Of a file with extra states only the state
    dicts that hold some count."""
    foreign: list[ExtraState] = dataclasses.field(default_factory=list)
    """Extra states that are not Transformer Engine's; they are left alone."""
    classes: set[str] = dataclasses.field(default_factory=set)
    """Transformer Engine's classes and functions that the pickles name."""
    weights: set[str] = dataclasses.field(default_factory=set)
    """Those of ``classes`` that rebuild values, such as quantized weights."""
    unknown_names: set[str] = dataclasses.field(default_factory=set)
    """Names that loading would import or call, and that honest checkpoints do not hold.

    See :class:`lookups.Lookups`."""
    quantized: QuantizedWeights = dataclasses.field(default_factory=QuantizedWeights)
    """Its quantized weights, counted by kind."""
    notes: list[str] = dataclasses.field(default_factory=list)
    """Limitations of the format that users should know."""
    unsearched: list[str] = dataclasses.field(default_factory=list)
    """Places that may hold extra states and were not searched for them."""
    ranks: dict[str, int] = dataclasses.field(default_factory=dict)
    """Numbers of ranks that the checkpoint says it has: tensor, pipeline, expert, data."""
    rebuilt_from: set[int] = dataclasses.field(default_factory=set)
    """Numbers of arguments that quantized weights are rebuilt from."""

    def add_lookups(self, lookups: Lookups) -> None:
        """Add the names that pickles looked up."""
        self.classes |= lookups.te
        self.unknown_names |= lookups.unknown
        if lookups.strange_ids:
            self.notes.append(
                f"{counted(lookups.strange_ids, 'persistent id')} in it, none of PyTorch's "
                "storages: torch.load refuses it"
            )

    def unsafe_names(self, allowed: Collection[str] = ()) -> tuple[str, ...]:
        """Return the names that make loading unsafe, sorted.

        :param allowed: names that the caller knows, without ``()``.
        """
        return tuple(sorted(n for n in self.unknown_names if n.removesuffix("()") not in allowed))

    def beside(self, key: str) -> dict[str, TensorKind]:
        """Return the tensors of the module that an extra state is of, by name.

        :param key: the key of the extra state.
        """
        return self.modules.get(KEY.sub("", key), {})

    @functools.cached_property
    def modules(self) -> dict[str, dict[str, TensorKind]]:
        """The tensors beside the extra states, by the path of their module and by name.

        Read it when everything was added.
        """
        found: dict[str, dict[str, TensorKind]] = {}
        for key, kind in self.tensors.items():
            module, _dot, name = key.rpartition(".")
            found.setdefault(module, {})[name] = kind
        return found

    def add_note(self, note: str) -> None:
        """Add a limitation, once."""
        if note not in self.notes:
            self.notes.append(note)

    def add_state(self, state: ExtraState) -> None:
        """Add one extra state.

        :raises Refused: there are more than any checkpoint has.
        """
        if len(self.states) >= limits.STATES:
            raise Refused(f"more than {limits.STATES} extra states")
        self.keys += 1
        (self.foreign if state.foreign else self.states).append(state)
