"""Rule: every extra state has a place in a model that releases are asked with, or it is said."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.formats import FORMATS, layered, recorded_state, torch_zip
from matrix.checkpoint import layout
from matrix.doctor import places as asking
from matrix.doctor.places import Places
from matrix.doctor.sightings import Assumed


def places(path: Path) -> Places:
    return asking.places_of(layout.find(path).read())


def by_path(found: Places) -> dict[str, tuple[str, int]]:
    return {place.path: (place.module, place.alike) for place in found.places}


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "safetensors"])
@pytest.mark.parametrize("layers", [1, 32])
def test_two_layers_stand_for_all_in_every_format(name: str, layers: int, tmp_path: Path) -> None:
    found = places(FORMATS[name](layered(recorded_state("1.11"), layers), tmp_path))
    copies = 2 if name == "mp_rank" else 1
    assert not found.unasked
    assert sum(place.alike for place in found.places) == 3 * layers * copies
    assert len(found.places) == 3 * min(layers, 2)
    kinds = {place.module for place in found.places}
    assert kinds == {"Linear", "DotProductAttention"}


def test_attention_is_placed_above_the_module_that_1_7_kept_its_state_in(tmp_path: Path) -> None:
    found = places(torch_zip(layered(recorded_state("1.7"), 1, "model."), tmp_path))
    assert by_path(found)["model.core_attention"] == ("DotProductAttention", 1)
    place = next(p for p in found.places if p.module == "DotProductAttention")
    assert place.tree_key == "model.core_attention.fused_attention._extra_state"
    assert place.is_at("model.core_attention.fused_attention")
    assert place.is_at("model.core_attention") and not place.is_at("model")


def test_states_of_one_path_go_into_models_of_their_own(tmp_path: Path) -> None:
    """A model and its moving average, which differ."""
    average = recorded_state("2.17.1")
    path = tmp_path / "x.pt"
    torch.save({"model": recorded_state("1.11"), "ema": average}, path)
    models = places(path).models()
    assert [len(model) for model in models] == [3, 3]
    for model in models:
        assert len({place.path for place in model}) == len(model)


def test_the_module_at_the_top_has_a_model_to_itself(tmp_path: Path) -> None:
    state = {"_extra_state": recorded_state("1.11")["qkv._extra_state"], "weight": torch.ones(2, 2)}
    path = tmp_path / "x.pt"
    torch.save({"a": state, "b": recorded_state("1.11")}, path)
    tops = [model for model in places(path).models() if any(not p.path for p in model)]
    assert [len(model) for model in tops] == [1]


@pytest.mark.parametrize("bias", [True, False])
def test_norms_are_placed_where_all_states_are_such_as_1_12_saves(
    bias: bool, tmp_path: Path
) -> None:
    norm = {"norm.weight": torch.ones(4)} | ({"norm.bias": torch.ones(4)} if bias else {})
    old = places(torch_zip({**recorded_state("1.11"), **norm}, tmp_path))
    (place,) = [place for place in old.places if place.state is None]
    assert (place.path, place.module) == ("norm", "LayerNorm" if bias else "RMSNorm")
    new = places(torch_zip({**recorded_state("2.17.1"), **norm}, tmp_path))
    assert all(place.state for place in new.places), "2.17.1 would have saved a state for it"


def test_what_cannot_be_placed_is_said(tmp_path: Path) -> None:
    state = recorded_state("1.11")
    cut = state["qkv._extra_state"].getvalue()[:-100]
    state["qkv._extra_state"] = io.BytesIO(cut)
    found = places(torch_zip(state, tmp_path))
    assert len(found.places) == 2
    assert len(found.unasked) == 1 and "qkv._extra_state" in found.unasked[0]


def test_an_overflowed_state_does_not_stand_for_others(tmp_path: Path) -> None:
    state = layered(recorded_state("1.11"), 4)
    key = next(key for key in state if key.endswith("qkv._extra_state"))
    inside: Any = torch.load(state[key], weights_only=False)
    inside["amax_history_fwd"][0, 0] = float("nan")
    state[key] = io.BytesIO()
    torch.save(inside, state[key])
    found = places(torch_zip(state, tmp_path))
    linears = [place for place in found.places if place.path.endswith("qkv")]
    assert sorted(place.alike for place in linears) == [1, 1, 2]
    assert [asking.is_finite(p.state) for p in linears if p.state].count(False) == 1


@pytest.mark.parametrize(
    ("assumed", "wanted"),
    [
        (None, {"amax_history_len": 1024}),
        (Assumed(history=16), {"amax_history_len": 16}),
        (Assumed("MXFP8BlockScaling"), {"class": "MXFP8BlockScaling"}),
    ],
)
def test_states_train_under_the_recipe_that_they_hold_or_the_assumed_one(
    assumed: Assumed | None, wanted: dict[str, object], tmp_path: Path
) -> None:
    found = places(torch_zip(recorded_state("1.11"), tmp_path))
    (group,) = asking.by_recipe(found.places, assumed)
    assert group.recipe == wanted
    assert len(group.places) == 3


@pytest.mark.parametrize("path", ["a..b", "a" + ".a" * 100])
def test_what_no_model_has_is_not_built(path: str, tmp_path: Path) -> None:
    saved = recorded_state("1.11")["qkv._extra_state"]
    found = places(torch_zip({f"{path}._extra_state": saved, "w": torch.ones(1)}, tmp_path))
    assert not found.places
    assert "no model has such a module" in found.unasked[0]


@pytest.mark.parametrize("shape", [(), (0,), (0, 3)])
def test_histories_of_odd_shapes_have_a_place_or_none(shape: Any, tmp_path: Path) -> None:
    """Whatever a file claims, it is asked or said to be odd, and nothing is raised."""
    saved = io.BytesIO(recorded_state("1.11")["qkv._extra_state"].getvalue())
    inside: Any = torch.load(saved, weights_only=False)
    inside["amax_history_fwd"] = torch.ones(shape)
    state = io.BytesIO()
    torch.save(inside, state)
    found = places(torch_zip({"fc._extra_state": state, "fc.weight": torch.ones(2, 2)}, tmp_path))
    assert asking.by_recipe(found.places)
