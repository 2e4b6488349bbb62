"""The FAQ's list as it has to read to agree with every observed load.

What is said of weights in high precision comes first; of quantized ones, only what is not the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from matrix.catalogue.faq import Documentation
from matrix.catalogue.releases import Release
from matrix.catalogue.words import RestState
from matrix.report.document import Report
from matrix.report.faq_patch import saving, sentences
from matrix.report.faq_patch.claims import Claim, Seen
from matrix.report.faq_patch.observed import ALL, ATTENTION, QUANTIZED, Observed, Pair, observed
from matrix.report.faq_patch.rows import rows
from matrix.report.faq_patch.table import Corrections, render

_PROMPT, _CONTINUED = ">>> ", "... "
_Precise = tuple[Claim, Claim | None]


def text(report: Report, documentation: Documentation, known: Mapping[str, Release]) -> str:
    """Return the end of the FAQ's file, with a list that agrees with a report.

    :param report: a report on the FAQ's scenarios, in which every cell has an outcome.
    :param known: its releases by name.
    """
    seen = observed(report, known)
    wording = _Wording(seen, documentation)
    saves = saving.sentences(report, documentation, known)
    return render(
        list(rows(_precise(seen), wording.precise, seen.order, saves)),
        documentation.published,
        Corrections(
            versions=f"Transformer Engine {seen.order[0]} to {seen.order[-1]}, for weights in high"
            " precision",
            quantized=tuple(rows(_quantized(seen), wording.quantized, seen.order, {})),
        ),
    )


def _precise(seen: Observed) -> dict[Pair, _Precise]:
    """Return what is said of weights in high precision.

    The second claim is on checkpoints in which only the attention holds FP8 metadata; None where
    it is the same.
    """
    of_attention = seen.claims[ATTENTION]
    return {
        pair: (one, None if of_attention[pair] == _without_rest(one) else of_attention[pair])
        for pair, one in seen.claims[ALL].items()
    }


def _quantized(seen: Observed) -> dict[Pair, Claim | None]:
    """Return what is said of quantized weights; None where it is the same as of others."""
    return {
        pair: None if _as_others(pair, seen) else one
        for pair, one in seen.claims[QUANTIZED].items()
    }


def _as_others(pair: Pair, seen: Observed) -> bool:
    """Return whether quantized weights fare as others do; where a reason is given, with that."""
    one, other = (seen.claims[scenario][pair] for scenario in (QUANTIZED, ALL))
    reasons, others = (seen.reasons(scenario, [pair]) for scenario in (QUANTIZED, ALL))
    return one == other and (one.trusted is not None or reasons == others)


def _without_rest(one: Claim) -> Claim:
    def bare(seen: Seen | None) -> Seen | None:
        return seen and dataclasses.replace(seen, rest=RestState.NONE)

    plain = dataclasses.replace(one.plain, rest=RestState.NONE)
    return dataclasses.replace(one, plain=plain, mapped=bare(one.mapped), trusted=bare(one.trusted))


@dataclasses.dataclass(frozen=True)
class _Wording:
    """Puts what is said of pairs into words, see :data:`matrix.report.faq_patch.rows.Wording`."""

    seen: Observed
    documentation: Documentation

    def precise(self, said: _Precise, pairs: Sequence[Pair]) -> tuple[str, tuple[str, ...]]:
        one, other = said
        reasons, why = (self.seen.reasons(scenario, pairs) for scenario in (ALL, ATTENTION))
        if other is None:
            return self._worded(one, list(dict.fromkeys([*reasons, *why])))
        return self._worded(one, reasons, (other, why))

    def quantized(self, said: Claim | None, pairs: Sequence[Pair]) -> tuple[str, tuple[str, ...]]:
        if said is None:
            return sentences.AS_ABOVE, ()
        return self._worded(said, self.seen.reasons(QUANTIZED, pairs))

    def _worded(
        self,
        one: Claim,
        reasons: Sequence[str],
        linears: tuple[Claim, Sequence[str]] | None = None,
    ) -> tuple[str, tuple[str, ...]]:
        published = self.documentation.published
        words = sentences.sentence(one, self.documentation, reasons, linears)
        code = published.code if words.endswith(published.mapping) else ()
        return words, tuple(map(_prompted, code))


def _prompted(line: str) -> str:
    """Return a line of an interpreter's session with a prompt; a page shows others as output."""
    return line if line.startswith(_PROMPT) else _CONTINUED + line[len(_CONTINUED) :]
