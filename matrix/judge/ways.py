"""The way across: what was seen to make a checkpoint load, the least intrusive first."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from matrix.catalogue import scenarios, ways
from matrix.catalogue.scenarios import TWICE, WHOLE, Variant
from matrix.catalogue.ways import Way
from matrix.checkpoint.dropping import ATTENTION_STATES
from matrix.judge.endings import Ending

REMAP = "te-matrix remap"
"""The command that rewrites a checkpoint for a release."""
ANY = "RELEASE"
"""Stands for the name of the loader in steps that are the same for several."""
MAPPING = "remap"
"""The ``rewrite`` of the variant that applies the FAQ's key mapping."""
READ_WHOLE = (
    "read it with torch.distributed.checkpoint.format_utils.dcp_to_torch_save and torch.load"
)
"""What reads a distributed checkpoint by its own index, as a clause."""
AS_IT_IS = ways.of_variant("plain")
"""The way of checkpoints that load as they are."""


@dataclasses.dataclass(frozen=True, slots=True)
class Across:
    """What was seen to make a checkpoint of one release load in another."""

    way: Way
    """The way."""
    variant: Variant
    """The variant that shows it."""
    ending: Ending
    """What was seen."""
    own_recipe: bool = False
    """Whether the recipe has to be the one that the checkpoint was saved with, as it was seen."""

    @property
    def name(self) -> str:
        """Name of the way."""
        return ways.own_recipe().name if self.own_recipe else self.way.name

    def step(self, to: str, opt_in: str | None, history: int | None = None) -> str:
        """Return what to do as a clause; empty where nothing is needed. See :func:`step`."""
        doing = step(self.variant, to, opt_in, drop=self.drop, history=history)
        return ", then ".join(filter(None, (doing, _OWN_RECIPE * self.own_recipe)))

    @property
    def drop(self) -> tuple[str, ...]:
        """Names of the FP8 states that have to be given up by name."""
        drops = self.variant.drop_attention != "never" and self.ending.attention_given_up
        return (ATTENTION_STATES,) if drops else ()

    @property
    def remaps(self) -> bool:
        """Whether the checkpoint is rewritten first."""
        return _remaps(self.variant)

    @property
    def gives_up(self) -> tuple[str, ...]:
        """What is given up, a clause each."""
        found = self.ending
        whose = _WHOSE.get((found.attention_given_up and not found.dropped, found.rest_given_up))
        clauses = (
            self.way.gives_up,
            f"{_WHOSE[True, False]}, which starts at defaults" if found.dropped else "",
            f"{whose}, for which the loader has no place" if whose else "",
            _NO_RECIPE if found.lacks_recipe else "",
            ways.own_recipe().gives_up if self.own_recipe else "",
        )
        return tuple(filter(None, clauses))


_WHOSE = {
    (True, False): "the FP8 metadata of attention",
    (False, True): "the FP8 metadata of all but attention",
    (True, True): "all FP8 metadata",
}
"""By whether the metadata of attention, and that of other parts, is given up."""
_OWN_RECIPE = "train on under the recipe that it was saved with"
_NO_RECIPE = "the recipe, which the loader lacks: train on under another"


def across(endings: Mapping[str, Ending]) -> Across | None:
    """Return the least intrusive way that was seen to go well; None where there is none.

    :param endings: what became of a checkpoint, by the names of the variants in which one release
        loaded it.
    """
    for way, variant in in_order():
        found = endings.get(variant.name)
        if found is not None and found.goes_well:
            return Across(way, variant, found)
    return None


def _remaps(variant: Variant) -> bool:
    return variant.form is not None or variant.rewrite == MAPPING


@functools.cache
def in_order() -> tuple[tuple[Way, Variant], ...]:
    """Return the variants with their ways, the ones to prefer first."""
    known = scenarios.variants()
    return tuple((way, known[name]) for way in ways.load() for name in way.variants)


def step(
    variant: Variant,
    to: str,
    opt_in: str | None,
    *,
    drop: Sequence[str] = (),
    history: int | None = None,
) -> str:
    """Return what has to be done to load a checkpoint as a variant does, as a clause.

    :param to: name of the loader.
    :param opt_in: its opt-in for pickled extra state.
    :param drop: names of the FP8 states that are given up.
    :param history: the ``amax_history_len`` that the recipe has to have; None where any will do.
    """
    steps = []
    if _remaps(variant):
        plain = variant.weights not in (None, "form")
        steps.append(
            f"run {REMAP} IN OUT --to {to}"
            + " --dequantize bf16" * plain
            + "".join(f" --drop-fp8-state {name}" for name in drop)
        )
    if variant.rewrite == WHOLE:
        steps.append(READ_WHOLE)
    if variant.model == "plain":
        steps.append("load it into a model built without quantized weights")
    if variant.rewrite == TWICE:
        steps.append("call load_state_dict twice")
    if history is not None:
        steps.append(f"load under a recipe with amax_history_len = {history}")
    if opt_in and variant.opt_in != "never":
        steps.append(f"set {opt_in}=1 for the load, if you trust the file")
    return ", then ".join(steps)
