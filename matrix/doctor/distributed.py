"""What becomes of a distributed checkpoint that is read into the state dict of a model.

``torch.distributed.checkpoint.load`` reads into the entries that a model has, and a tensor into one
of the same size alone. From 1.14 on an extra state is a tensor as long as its content
(``get_extra_state`` in ``pytorch/module/base.py``), and that of a new model is shorter. Read whole,
by its own index, the state dict is the one that was saved: in the scenario ``distributed`` every
pair does with it what it does with a file of ``torch.save``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from matrix.catalogue import ways as catalogued
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import Holds
from matrix.doctor import advice
from matrix.doctor.predictions import Prediction
from matrix.doctor.sightings import LoadStatus
from matrix.judge import ways

_SCENARIO = "distributed"
_FORGIVES_NOTHING = (
    "torch.distributed.checkpoint.load fails instead where a key of the model's is missing"
)
_KEEPS = (Holds.METADATA, Holds.DEFAULTS)


def has_sizes(contents: Contents) -> bool:
    """Return whether extra states in it have to be of the size that the model's have."""
    return bool(_sized(contents))


def predicted(contents: Contents, whole: Prediction) -> Prediction:
    """Return the prediction for a checkpoint that is read as usual, from that for its state dict.

    :param whole: what the release does with the state dict.
    """
    sized = _sized(contents)
    if not sized:
        forgiven = whole.status in (LoadStatus.RESETS, LoadStatus.FROZEN)
        missing = forgiven and any(map(_is_object, contents.states))
        detail = f"{whole.detail}; {_FORGIVES_NOTHING}".removeprefix("; ")
        return dataclasses.replace(whole, detail=detail) if missing else whole
    return dataclasses.replace(
        whole,
        status=LoadStatus.FAILS,
        detail="; ".join(filter(None, (_refusal(sized), _then(whole)))),
        step=_step(whole),
        variant=whole.variant or "whole",
        way=_READ.name if whole.way in _WITHOUT_REWRITE else whole.way,
        seen_in=tuple(dict.fromkeys((*whole.seen_in, _SCENARIO))),
    )


_READ = catalogued.of_variant("whole")
_WITHOUT_REWRITE = (ways.AS_IT_IS.name, catalogued.of_variant("trusted").name)


def _sized(contents: Contents) -> Sequence[ExtraState]:
    return [state for state in contents.states if state.sized and state.holds in _KEEPS]


def _is_object(state: ExtraState) -> bool:
    """Return whether it is read into an entry of the model, as Megatron-LM's lists are not."""
    return bool(state.index) and not (state.sized or state.in_list)


def _refusal(sized: Sequence[ExtraState]) -> str:
    keys = advice.some([state.key for state in sized])
    return (
        "torch.distributed.checkpoint.load fails: the model's own have another size, type or key "
        f"({keys})"
    )


def _then(whole: Prediction) -> str:
    unknown = whole.status == LoadStatus.UNKNOWN
    status = f"read whole, it {'is not known' if unknown else whole.status.value}"
    return f"{status}: {whole.detail}" if whole.detail else status


def _step(whole: Prediction) -> str:
    """Return what makes it load: what the state dict needs, once it is read."""
    if whole.status == LoadStatus.LOADS:
        return f"{ways.READ_WHOLE[:1].upper()}{ways.READ_WHOLE[1:]}"
    return f"{whole.step}; {ways.READ_WHOLE}" if whole.way else whole.step
