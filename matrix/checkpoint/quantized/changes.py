"""What becomes of the quantized weights of a checkpoint when it is written anew."""

from __future__ import annotations

import dataclasses

from matrix.catalogue.ranges import covers
from matrix.checkpoint.added import AddedStorages
from matrix.checkpoint.errors import CheckpointError, Malformed
from matrix.checkpoint.nodes import Call
from matrix.checkpoint.quantized import dequantizing, weights
from matrix.checkpoint.quantized.writing import Writer
from matrix.checkpoint.torchfile import TorchFile


@dataclasses.dataclass(frozen=True)
class WeightChange:
    """A form for the quantized weights of a checkpoint: a release's own, or plain tensors."""

    into: str | None = None
    """Version of the release whose form they get; None if they become plain tensors."""
    dtype: str = "bfloat16"
    """The element type of the plain tensors: ``bfloat16``, ``float16`` or ``float32``."""
    savers: tuple[str, ...] = ()
    """Versions of the releases that can have saved the checkpoint; empty: all."""

    def apply(self, source: TorchFile, added: AddedStorages) -> None:
        """Change the weights of a file; this modifies ``source.root``.

        :raises CheckpointError: a weight cannot be had in this form.
        """
        calls, numbering = weights.search(source.root, self.savers)
        writer = Writer(self.into, source.protocol, added) if self.into else None
        for call in calls:
            if self._left_alone(call):
                continue
            try:
                weight = weights.read(call, numbering)
                if writer is not None:
                    writer.write(weight)
                else:
                    dequantizing.replace(weight, source, added, self.dtype)
            except Malformed as error:
                raise self._refusal(error) from error

    def _left_alone(self, call: Call) -> bool:
        """Return whether the target takes a weight as it is, for want of any other form.

        :raises CheckpointError: it is of a class that the target does not have.
        """
        releases = weights.kept(call)
        if releases is None:
            return False
        if self.into is None or not covers(releases)(self.into):
            raise self._refusal(Malformed(f"its class is left as it is, for {releases}"))
        return True

    def _refusal(self, error: Malformed) -> CheckpointError:
        if self.into is None:
            return CheckpointError(
                f"a quantized weight cannot be dequantized: {error}",
                why="it is not as Transformer Engine writes it, or in a form that is not known",
                do="Load it with the release that saved it, and dequantize it there",
            )
        return CheckpointError(
            f"a quantized weight cannot be written in the form of {self.into}: {error}",
            why="that release cannot hold it, or it is not as Transformer Engine writes it",
            do="--dequantize bf16 makes plain tensors of all quantized weights",
        )
