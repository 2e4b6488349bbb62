"""The answer to an error as text, for ``te-matrix explain --error``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matrix.catalogue import ranges
from matrix.catalogue.releases import Release
from matrix.doctor.symptoms.explaining import Explanation, PossibleCause

SHOWN = 5
"""The most scenarios that are named."""
TO_SEND = (
    "the whole traceback, from the first line on, of the first rank that failed",
    "the versions of Transformer Engine that saved the checkpoint and that loads it:\n"
    '    python -c "import transformer_engine; print(transformer_engine.__version__)"',
    "the versions of PyTorch and of the framework, and the line that loads",
    "what te-matrix inspect CKPT prints; it reads no weights, and runs nothing of the file",
)
"""What is needed to find out about an error that nothing is known of."""


def page(explanation: Explanation, releases: Sequence[Release]) -> Iterator[str]:
    """Yield the lines of text.

    :param releases: all of the catalogue, oldest first.
    """
    order = [release.name for release in releases]
    for number, each in enumerate(explanation.causes, start=1):
        yield from _cause(number, each, order)
    if not explanation.causes:
        yield from _nothing(explanation.ordinary)


def _cause(number: int, each: PossibleCause, order: Sequence[str]) -> Iterator[str]:
    yield f"{number}. {each.error}  [{each.id}]"
    yield f"   Told by: {each.shown_by}"
    yield f"   Concerns: {each.releases}"
    if each.pairs:
        shown = ", ".join(each.pairs.scenarios[:SHOWN])
        more = len(each.pairs.scenarios) - SHOWN
        yield f"   Seen in {shown}{f' and {more} more scenarios' if more > 0 else ''}:"
        for savers, loaders in each.pairs.by_savers:
            saved_by, loaded_by = ranges.text(savers, order), ranges.text(loaders, order)
            yield f"     saved by {saved_by}, loaded by {loaded_by}"
    yield f"   Why: {each.cause}"
    yield f"   What to do: {each.advice}"
    if each.pairs and each.pairs.mended:
        yield (
            f"   te-matrix remap IN OUT --to RELEASE makes {each.pairs.mended} of these "
            f"{each.pairs.count} combinations load"
        )
    yield f"   Reference: {each.reference}"
    yield ""


def _nothing(ordinary: str) -> Iterator[str]:
    if ordinary:
        yield f"This is not known to be Transformer Engine's: {ordinary}."
        yield ""
        yield "If you think that it is:"
    else:
        yield "Nothing in this shows that it is Transformer Engine's, or its cause is not known."
        yield ""
    yield "To find out, these are needed:"
    yield from (f"  - {line}" for line in TO_SEND)
