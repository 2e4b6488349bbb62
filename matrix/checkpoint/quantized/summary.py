"""The quantized weights of a checkpoint, counted by what tells releases apart."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

from matrix.catalogue.ranges import covers
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.quantized import weights
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.quantized.weights import QuantizedWeight
from matrix.checkpoint.torchfile import TorchFile


@dataclasses.dataclass(frozen=True, order=True)
class WeightKind:
    """What quantized weights have in common."""

    weight: str
    """Name of their class, e.g. ``Float8Tensor``."""
    releases: str
    """Closed ranges of the releases that pickle and read them in this form."""
    fp_dtype: str
    """Element type of the data: ``kFloat8E4M3``, ``kFloat8E5M2`` or ``kFloat4E2M1``."""
    dtype: str
    """The type that they have to PyTorch, such as ``bfloat16``."""
    usages: tuple[str, ...]
    """Which copies they hold: ``rowwise``, ``columnwise``."""


@dataclasses.dataclass
class Amount:
    """How many quantized weights there are of a kind."""

    count: int = 0
    size: int = 0
    """Bytes of data and scales."""


@dataclasses.dataclass(frozen=True)
class WeightGroup(WeightKind):
    """All quantized weights of a kind."""

    count: int
    size: int
    """Bytes of data and scales."""

    def __str__(self) -> str:
        """Return it as a clause."""
        return (
            f"{self.count} {self.weight} of {self.fp_dtype.removeprefix('k')} "
            f"({self.dtype} to PyTorch, {' and '.join(self.usages)}, {self.size} bytes), "
            f"as {self.releases} pickle them"
        )


@dataclasses.dataclass
class Held:
    """The quantized weights of a file that are understood."""

    elements: int = 0
    size: int = 0
    """Bytes of their data and scales."""
    nominal: int = 0
    """Bytes that the elements would take in the types that they have to PyTorch."""

    def add(self, found: QuantizedWeight) -> None:
        """Add a weight."""
        count = math.prod(found.shape)
        self.elements += count
        self.size += found.size
        self.nominal += count * weights.FLOATS[found.dtype]


@dataclasses.dataclass
class QuantizedWeights:
    """The quantized weights of a checkpoint."""

    kinds: dict[WeightKind, Amount] = dataclasses.field(default_factory=dict)
    files: dict[str, Held] = dataclasses.field(default_factory=dict)
    """What each file has that holds any, by its path relative to the checkpoint."""
    unknown: list[str] = dataclasses.field(default_factory=list)
    """Why weights are not understood, each reason once."""
    left_alone: Counter[str] = dataclasses.field(default_factory=Counter)
    """Number of those of classes that are only kept as they are, by the releases that have them."""

    @property
    def count(self) -> int:
        """Number of quantized weights that are understood."""
        return sum(amount.count for amount in self.kinds.values())

    @property
    def size(self) -> int:
        """Bytes of their data and scales."""
        return sum(amount.size for amount in self.kinds.values())

    def are(self, change: WeightChange) -> bool:
        """Return whether all of them are what a change makes of them."""
        if change.into is None:
            return not self.files
        ranges = (*(kind.releases for kind in self.kinds), *self.left_alone)
        return not self.unknown and all(covers(releases)(change.into) for releases in ranges)

    def groups(self) -> tuple[WeightGroup, ...]:
        """Return them by kind."""
        return tuple(
            WeightGroup(**dataclasses.asdict(kind), **dataclasses.asdict(amount))
            for kind, amount in sorted(self.kinds.items())
        )

    def add(self, source: TorchFile, name: str) -> None:
        """Add those of a file.

        :param name: the path of the file, relative to the checkpoint.
        """
        if not weights.is_looked_up(source.budget.lookups.te):
            return  # Searching a large file takes seconds.
        calls, numbering = weights.search(source.root)
        if calls:
            self.files.setdefault(name, Held())
        for call in calls:
            if releases := weights.kept(call):
                self.left_alone[releases] += 1
                continue
            try:
                found = weights.read(call, numbering)
                self._count(found)
                self.files[name].add(found)
            except Malformed as error:
                if str(error) not in self.unknown:
                    self.unknown.append(str(error))

    def _count(self, found: QuantizedWeight) -> None:
        releases = ", ".join(form.releases for form in found.forms)
        kind = WeightKind(found.weight, releases, found.fp_dtype, found.dtype, found.usages)
        amount = self.kinds.setdefault(kind, Amount())
        amount.count += 1
        amount.size += found.size
