"""Rule: whatever a release saves is described, told from anything else, and damaged for controls.

A release under test may save what no release has saved before; that must show as its finding.
"""

from __future__ import annotations

import collections
import io
from typing import Any

import pytest
import torch

from matrix.store.records import StateEntry

KEY = "_extra_state"


def with_attribute(value: Any, attribute: Any) -> Any:
    value.recipe = attribute
    return value


@pytest.mark.parametrize("value", [{"scale_fwd": torch.ones(3)}, {}, None, 3, "text", [1, 2]])
def test_a_state_in_no_container_is_described(worker: Any, value: Any) -> None:
    digest = worker("digest")
    entry = StateEntry.model_validate(digest.describe(KEY, value))
    assert entry.kind == type(value).__name__
    assert entry.fields == (tuple(value) if isinstance(value, dict) else None)
    assert digest.decode(value)["state"] is value


@pytest.mark.parametrize("value", [3, "text", None, {"a": 1}, torch.dtype])
def test_an_entry_that_is_no_tensor_is_described(worker: Any, value: Any) -> None:
    entry = StateEntry.model_validate(worker("digest").describe("format", value))
    assert (entry.kind, entry.dtype, entry.shape) == (type(value).__name__, None, None)


def test_states_in_no_container_are_told_apart(worker: Any) -> None:
    of_state = worker("digest").of_state
    values = ({"a": 1}, {"a": 2}, {"a": torch.ones(1)}, {"a": torch.zeros(1)}, {}, [1], "1", None)
    assert len({of_state({KEY: value}) for value in values}) == len(values)


@pytest.mark.parametrize("make", [lambda: io.BytesIO(b"abc"), lambda: torch.ones(2)])
def test_attributes_of_a_container_are_part_of_the_state(worker: Any, make: Any) -> None:
    of_state = worker("digest").of_state
    states = (make(), with_attribute(make(), {"a": 1}), with_attribute(make(), {"a": 2}))
    assert len({of_state({KEY: value}) for value in states}) == len(states)


def test_where_a_stream_stands_is_part_of_the_state(worker: Any) -> None:
    """A release that does not rewind it reads from there."""
    of_state = worker("digest").of_state
    streams = [io.BytesIO(b"abc") for _ in range(3)]
    for position, stream in enumerate(streams):
        stream.seek(3 - position)
    assert len({of_state({KEY: stream}) for stream in streams}) == len(streams)


def test_attributes_of_a_tensor_are_part_of_the_state(worker: Any) -> None:
    of_state = worker("digest").of_state
    plain, other = torch.ones(2), with_attribute(torch.ones(2), "a")
    assert of_state({"weight": plain}) != of_state({"weight": other})


def a_state_dict(version: int = 1, kind: type = collections.OrderedDict) -> Any:
    made = kind({"weight": torch.ones(2)})
    made._metadata = collections.OrderedDict(
        {"": {"version": 1}, "attention": {"version": version}}
    )
    return made


class OtherDict(dict[str, Any]):
    """A state dict of a class of its own."""


def test_what_is_beside_the_entries_is_part_of_the_state(worker: Any) -> None:
    """The type of the state dict, its attributes and the versions of modules, if not PyTorch's."""
    of_state = worker("digest").of_state
    plain = of_state({"weight": torch.ones(2)})
    assert of_state(a_state_dict()) == plain
    others = (a_state_dict(2), a_state_dict(3), with_attribute(a_state_dict(), "a"))
    others += (a_state_dict(kind=OtherDict), a_state_dict(2, kind=OtherDict))
    assert len({plain, *map(of_state, others)}) == len(others) + 1


def test_rewrites_keep_what_is_beside_the_entries(worker: Any) -> None:
    for name, rewrite in worker("rewriting").REWRITES.items():
        before = a_state_dict(2, kind=OtherDict)
        after = rewrite(before)
        assert type(after) is OtherDict and after._metadata == before._metadata, name


@pytest.mark.parametrize("value", [{"a": 1, "b": 2}, 3, "text", None, [1, 2]])
def test_a_state_in_no_container_is_damaged(worker: Any, value: Any) -> None:
    rewriting = worker("rewriting")
    before = {KEY: value}
    truncated, empty = (
        damage(before)[KEY] for damage in (rewriting.truncate_payload, rewriting.empty_payload)
    )
    if isinstance(value, dict):
        assert (truncated, empty) == ({"a": 1}, {})
    else:
        assert truncated is empty is None
    assert before == {KEY: value}


@pytest.mark.parametrize("lacking", ["weight", "bias"])
def test_a_weight_that_the_checkpoint_lacks_is_changed(worker: Any, lacking: str) -> None:
    model = torch.nn.Linear(2, 2)
    saved = {name: tensor for name, tensor in model.state_dict().items() if name != lacking}
    assert worker("loading")._changed_weights(model, saved) == [lacking]


def test_one_name_of_a_shared_weight_will_do(worker: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[1].weight = model[0].weight
    saved = {name: value for name, value in model.state_dict().items() if name != "1.weight"}
    assert worker("loading")._changed_weights(model, saved) == []
