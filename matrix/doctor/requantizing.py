"""What ``remap`` does to the quantized weights of a checkpoint, and what it says of that."""

from __future__ import annotations

from collections.abc import Sequence

from matrix.catalogue import scenarios
from matrix.catalogue.ranges import covers
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import TWICE
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.doctor.predictions import Prediction
from matrix.system.counting import counted

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
"""The types of plain tensors, by what ``--dequantize`` calls them."""


def change(
    contents: Contents, release: Release, dequantize: str | None, savers: Sequence[Release]
) -> WeightChange | None:
    """Return what has to become of the quantized weights; None where nothing has.

    :param dequantize: a key of ``DTYPES``; None to give them the release's own form.
    :param savers: the releases that can have written the checkpoint.
    """
    versions = tuple(saver.version for saver in savers)
    if dequantize is None:
        wanted = WeightChange(into=release.version, savers=versions)
    else:
        wanted = WeightChange(dtype=DTYPES[dequantize], savers=versions)
    return None if contents.quantized.are(wanted) else wanted


def is_proven(before: Prediction, changed: WeightChange | None) -> bool:
    """Return whether the matrix has seen the release load weights that were changed so.

    Plain weights are taken by every release that is not built with quantized ones.
    """
    if changed is not None and changed.into is None:
        return True
    way = scenarios.variants().get(before.variant)
    return way is not None and way.weights == "form"


def described(contents: Contents, changed: WeightChange | None, release: Release) -> str:
    """Return what becomes of the quantized weights as text; empty where nothing does."""
    weights = counted(contents.quantized.count, "quantized weight")
    if changed is None:
        return ""
    if changed.into is not None:
        return f"{weights} as {release.name} pickles its own, byte for byte"
    told = f"{weights} as plain tensors of {changed.dtype}"
    if _needs_two_calls(release):
        told += (
            f"; a model built with quantized weights gets them exactly by calling "
            f"load_state_dict twice in {release.name}"
        )
    return told


def _needs_two_calls(release: Release) -> bool:
    ways = (way for way in scenarios.variants().values() if way.rewrite == TWICE)
    return any(way.into is not None and covers(way.into)(release.version) for way in ways)
