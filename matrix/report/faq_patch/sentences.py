"""What a list says of a pair of releases, in the FAQ's words."""

from __future__ import annotations

from collections.abc import Sequence

from matrix.catalogue.faq import Documentation
from matrix.catalogue.words import Outcome, RestState, Stage
from matrix.report.faq_patch.claims import REMAPPED, Claim, Seen

AS_ABOVE = "As above"
"""Said of quantized weights where the first list, on those in high precision, holds for them."""
WITHOUT_LINEARS = "Where the linear layers hold no FP8 metadata, it"
"""Begins what is said of checkpoints in which only the attention holds FP8 metadata."""

_SUBJECT = "This save/load combination "
_NOT_UPDATED = "but further training does not update it"
_PARTIAL = "Loads FP8 metadata from checkpoint only in part"
_CHANGED = "Does not restore the weights bit for bit"
_RESIZED = ", with amax histories of another length"
_REST = {
    RestState.NONE: "",
    RestState.KEPT: "",
    RestState.FROZEN: f"; that of the linear layers is loaded, {_NOT_UPDATED}",
    RestState.LOST: "; that of the linear layers is lost",
}
_PLACES = {Stage.SAVE: " when saving", Stage.DESERIALIZE: " in `torch.load`"}
"""Where an error is raised, for the stages before ``load_state_dict``."""


def sentence(
    claim: Claim,
    documentation: Documentation,
    reasons: Sequence[str],
    linears: tuple[Claim, Sequence[str]] | None = None,
) -> str:
    """Return what becomes of checkpoints, as one or more sentences without the last full stop.

    :param reasons: why loads fail, of those without any measure.
    :param linears: what is said of checkpoints whose linear layers hold no FP8 metadata, and why
        their loads fail, where that is not the same.
    """
    said = list(_sentences(claim, documentation, reasons))
    if linears is not None:
        other, why = linears
        first, *more = _sentences(other, documentation, why)
        said += [f"{WITHOUT_LINEARS} {_clause(first)}", *more]
    if claim.mapped or (linears and linears[0].mapped):
        said.append(documentation.published.mapping)
    return ". ".join(said)


def _sentences(claim: Claim, documentation: Documentation, reasons: Sequence[str]) -> list[str]:
    plain, mapped, trusted = (
        _one(seen, documentation, why) if seen else ""
        for seen, why in ((claim.plain, reasons), (claim.mapped, ()), (claim.trusted, ()))
    )
    if trusted and claim.plain.failed and not mapped:
        return [f"Error, unless `{claim.opt_in}=1` is set", f"Then, it {_clause(trusted)}"]
    said = [plain]
    if mapped:
        mapping = f"{_mapping(documentation)}, and then {_clause(mapped)}"
        said = [mapping, f"Otherwise, it {_clause(plain)}"]
    return [*said, f"With `{claim.opt_in}=1`, it {_clause(trusted)}"] if trusted else said


def _one(seen: Seen, documentation: Documentation, reasons: Sequence[str]) -> str:
    if seen.failed:
        place = _PLACES[seen.before] if seen.before else ""
        return f"Error{place}" if place or not reasons else f"Error: {_either(reasons)}"
    words = _PARTIAL if seen.outcome == Outcome.PARTIAL else _documented(documentation, seen)
    resized = _RESIZED if seen.resized else ""
    frozen = f", {_NOT_UPDATED}" if seen.frozen else ""
    return f"{_CHANGED if seen.changed else words}{resized}{frozen}{_REST[seen.rest]}"


def _documented(documentation: Documentation, seen: Seen) -> str:
    """Return the FAQ's own sentence for an outcome."""
    return next(
        rule.sentence
        for rule in documentation.rules
        if rule.outcome == seen.outcome and "plain" in rule.variants
    )


def _mapping(documentation: Documentation) -> str:
    return next(rule.sentence for rule in documentation.rules if REMAPPED in rule.variants)


def _clause(words: str) -> str:
    """Return a sentence as what follows "it"."""
    if words.startswith("Error"):
        return f"fails{words.removeprefix('Error')}"
    words = words.removeprefix(_SUBJECT)
    return words[:1].lower() + words[1:]


def _either(reasons: Sequence[str]) -> str:
    *others, last = reasons
    return f"{', '.join(others)} or {last}" if others else last
