"""Rule: each kind of extra state becomes what a form's releases read, and loses nothing unsaid."""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.formats import recorded_state, torch_zip
from matrix.catalogue import forms
from matrix.checkpoint import edits, emit, layout, nodes, objects, pickles, states
from matrix.checkpoint.contents import Contents
from matrix.checkpoint.edits import Edit
from matrix.checkpoint.errors import CheckpointError, LossError
from matrix.checkpoint.limits import Budget
from matrix.checkpoint.rewriting import rewrite_file
from matrix.checkpoint.states import ExtraState
from matrix.checkpoint.words import StateContainer, Step

RECIPES = "transformer_engine.common.recipe"
HISTORY = 4


def as_bytes(payload: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(payload), dtype=torch.uint8)


def pickled(fields: dict[str, Any] | None) -> torch.Tensor:
    return as_bytes(pickle.dumps(fields))


def in_buffer(fields: dict[str, Any] | None) -> io.BytesIO:
    stream = io.BytesIO()
    torch.save(fields, stream)
    return stream


def metadata(gemms: int, **more: Any) -> dict[str, Any]:
    """What a module of some matrix products saves, as 1.8 and later 1.x do."""
    fields: dict[str, Any] = {}
    for way, slots in (("fwd", 3 * gemms), ("bwd", 2 * gemms)):
        fields[f"scale_{way}"] = torch.arange(2.0, 2.0 + slots)
        fields[f"scale_inv_{way}"] = 1 / fields[f"scale_{way}"]
        fields[f"amax_history_{way}"] = torch.arange(1.0, 1.0 + HISTORY * slots).reshape(-1, slots)
    return {**fields, "extra_fp8_variables": {"num_gemms": gemms, **more}}


def recipe_only(name: str) -> torch.Tensor:
    recipe = nodes.Call("NEWOBJ", nodes.Global(RECIPES, name), ())
    fields = [("recipe", recipe), ("extra_fp8_variables", nodes.Map([("num_gemms", 1)]))]
    return as_bytes(emit.emit(nodes.Map(fields), 4))


NORM = {"norm.weight": torch.ones(8), "norm.bias": torch.ones(8)}
LINEAR = {"fc.weight": torch.ones(8, 8)}


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def reading(state: dict[str, Any]) -> Contents:
        return layout.find(torch_zip(state, tmp_path)).read()

    return reading


def planned(contents: Contents, form: str, **options: Any) -> dict[str, Edit]:
    return {e.state.key: e for e in edits.plan(contents, forms.load()[form], **options)}


def after(edit: Edit) -> ExtraState:
    """The state that an edit writes."""
    assert edit.payload is not None
    bare = ExtraState(str(edit.new_key), "", StateContainer.BYTE_TENSOR)
    return states.of_content(bare, edit.payload, Budget())


# Norms.

NORM_STATES = {
    "1.13": torch.Tensor(),
    "2.0": pickled({}),
    "2.16.1": torch.empty(0, dtype=torch.uint8),
}


@pytest.mark.parametrize("release", NORM_STATES)
@pytest.mark.parametrize("form", ["1.0", "1.6", "1.8", "1.13", "2.0", "2.4"])
def test_the_state_of_a_norm_goes_where_releases_have_none(
    release: str, form: str, read: Any
) -> None:
    """What it holds is nothing, in each container, so that later releases take it as it is."""
    edit = planned(read({**NORM, "norm._extra_state": NORM_STATES[release]}), form)[
        "norm._extra_state"
    ]
    if form in ("1.0", "1.6", "1.8"):
        assert (edit.new_key, edit.steps) == (None, (Step.DROP_KEY,))
    else:
        assert (edit.new_key, edit.steps) == ("norm._extra_state", ())


@pytest.mark.parametrize("form", ["1.6", "1.8", "1.13", "2.0"])
def test_a_linear_layer_without_state_keeps_its_key(form: str, read: Any) -> None:
    """It is told from a norm by its weight, for what 2.16.1 and later save for both is the same."""
    nothing = torch.empty(0, dtype=torch.uint8)
    edit = planned(read({**LINEAR, "fc._extra_state": nothing}), form)["fc._extra_state"]
    assert (edit.new_key, edit.steps) == ("fc._extra_state", (Step.SPELL_OUT_NOTHING,))
    assert pickles.read(edit.payload or b"").root is None


def test_norms_are_added_where_a_pattern_names_them(read: Any, tmp_path: Path) -> None:
    state = {
        **{f"layers.{n}.{key}": value for n in range(2) for key, value in NORM.items()},
        **{f"head.{key}": value for key, value in NORM.items()},
        **LINEAR,
        "fc._extra_state": in_buffer(metadata(1)),
    }
    found = planned(read(state), "1.13", norms=["layers.*.norm"])
    added = [key for key, edit in found.items() if Step.ADD_KEY in edit.steps]
    assert added == ["layers.0.norm._extra_state", "layers.1.norm._extra_state"]
    with pytest.raises(CheckpointError, match=r"called decoder\.\*.*Such are: layers.0.norm"):
        planned(read(state), "1.13", norms=["decoder.*"])


def test_what_has_other_tensors_than_a_norm_is_none(read: Any) -> None:
    batch_norm = {**NORM, "norm.running_mean": torch.ones(8)}
    with pytest.raises(CheckpointError, match="There is none in this checkpoint"):
        planned(read({**batch_norm, **LINEAR}), "1.13", norms=["*"])


def test_an_added_state_lies_beside_its_weight_and_nowhere_else(tmp_path: Path) -> None:
    """Neither in the attributes of the state dict, nor in another one with the same keys."""
    model = torch.nn.ModuleDict({"norm": torch.nn.LayerNorm(8)})
    state = model.state_dict()
    state["fc._extra_state"] = in_buffer(metadata(1))
    path = torch_zip({"model": state, "exp_avg": dict(NORM)}, tmp_path)
    rewrite_file(path, tmp_path / "new.pt", forms.load()["2.0"])
    found = torch.load(tmp_path / "new.pt", weights_only=False)
    assert found["model"]["norm._extra_state"].numel() == 0
    assert found["exp_avg"].keys() == NORM.keys()
    assert "norm._extra_state" not in found["model"]._metadata


# Attention.


@pytest.mark.parametrize(
    "name", ["core_attention", "dpa", "attn.inner", "core_attention._orig_mod"]
)
def test_attention_is_known_by_its_state_under_any_name(name: str, read: Any) -> None:
    state = {**LINEAR, f"{name}._extra_state": in_buffer(metadata(3))}
    edit = planned(read(state), "1.6")[f"{name}._extra_state"]
    assert edit.new_key == f"{name}.fused_attention._extra_state"
    assert edit.steps == (Step.UNMAP_KEY,)
    back = planned(read({**LINEAR, edit.new_key: in_buffer(metadata(3))}), "1.8")[edit.new_key]
    assert (back.new_key, back.steps) == (f"{name}._extra_state", (Step.MAP_KEY,))


def test_attention_alone_in_its_file(read: Any) -> None:
    """``GroupedLinear`` of three matrices has as many scales, but is in no such release."""
    edit = planned(read({"_extra_state": in_buffer(metadata(3))}), "1.6")["_extra_state"]
    assert edit.new_key == "fused_attention._extra_state"


def test_a_grouped_layer_of_three_is_no_attention(read: Any) -> None:
    weights = {f"experts.weight{n}": torch.ones(8, 8) for n in range(3)}
    state = {**weights, "experts._extra_state": in_buffer(metadata(3))}
    assert planned(read(state), "1.6")["experts._extra_state"].steps == ()


@pytest.mark.parametrize("key", ["core_attention", "dpa"])
def test_what_1_5_has_no_place_for_is_dropped_only_if_nothing_is_held(key: str, read: Any) -> None:
    key += "._extra_state"
    linear = {**LINEAR, "fc._extra_state": in_buffer(None)}
    full = read({**linear, key: in_buffer(metadata(3))})
    with pytest.raises(LossError, match="for which 1.0-1.5 have no place"):
        planned(full, "1.0")
    assert planned(full, "1.0", drop=["*"])[key].steps == (Step.DROP_STATE,)
    empty = planned(read({**linear, key: in_buffer(None)}), "1.0")[key]
    assert (empty.new_key, empty.steps) == (None, (Step.DROP_KEY,))


# States that are given up by name.

MODEL = {
    **{f"layers.{n}.fc.weight": torch.ones(8, 8) for n in range(2)},
    **{f"layers.{n}.fc._extra_state": in_buffer(metadata(1)) for n in range(2)},
    **{f"layers.{n}.dpa._extra_state": in_buffer(metadata(3)) for n in range(2)},
}


def given_up(found: dict[str, Edit]) -> set[str]:
    return {
        key.removesuffix("._extra_state")
        for key, edit in found.items()
        if Step.DROP_STATE in edit.steps
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["attention"], {"layers.0.dpa", "layers.1.dpa"}),
        (["layers.1.*"], {"layers.1.fc", "layers.1.dpa"}),
        (["layers.0.fc", "attention"], {"layers.0.fc", "layers.0.dpa", "layers.1.dpa"}),
        (["*"], {"layers.0.fc", "layers.0.dpa", "layers.1.fc", "layers.1.dpa"}),
        ([], set()),
    ],
)
@pytest.mark.parametrize("form", ["1.6", "2.4"])
def test_what_is_named_is_given_up_and_nothing_else(
    form: str, names: list[str], expected: set[str], read: Any
) -> None:
    assert given_up(planned(read(MODEL), form, drop=names)) == expected


def test_attention_is_given_up_and_the_rest_is_rewritten(read: Any) -> None:
    found = planned(read(MODEL), "1.0", drop=["attention"])
    assert found["layers.0.dpa._extra_state"].new_key is None
    kept = found["layers.0.fc._extra_state"]
    assert kept.steps == (Step.ADD_GLOBAL_STATE,) and after(kept).tensors


def test_a_module_is_named_without_what_wraps_it(read: Any) -> None:
    key = "_fsdp_wrapped_module.fc"
    wrapped = {f"{key}.weight": torch.ones(8, 8), f"{key}._extra_state": in_buffer(metadata(1))}
    assert given_up(planned(read(wrapped), "2.4", drop=["fc"])) == {key}


def test_what_may_be_a_grouped_layer_is_not_called_attention(read: Any) -> None:
    """A layer of three matrices has as many scales as attention; before 1.9 there is none."""
    alone = read({"_extra_state": in_buffer(metadata(3))})
    assert planned(alone, "1.0", drop=["attention"])["_extra_state"].new_key is None
    with pytest.raises(CheckpointError, match=r"is called attention.*Such are: \(top\)"):
        planned(alone, "2.4", drop=["attention"])
    assert planned(alone, "2.4", drop=["(top)"])["_extra_state"].payload == b""


@pytest.mark.parametrize("name", ["atention", "layers.2.*", "fc", ""])
def test_a_name_that_no_module_has_is_refused(name: str, read: Any) -> None:
    with pytest.raises(CheckpointError, match="no module with FP8 state is called"):
        planned(read(MODEL), "2.4", drop=["attention", name])
    planned(read(MODEL), "2.4", drop=["attention", name], lenient=True)


def test_attention_that_cannot_be_decoded_is_given_up_under_its_own_key(read: Any) -> None:
    key = "core_attention._extra_state"
    contents = read({**LINEAR, key: in_buffer(metadata(3)).getvalue()[:100]})
    with pytest.raises(CheckpointError, match="cannot be decoded"):
        planned(contents, "1.0")
    assert planned(contents, "1.0", drop=["*"])[key].new_key is None
    moved = planned(contents, "1.6", drop=["*"])[key]
    assert moved.new_key == "core_attention.fused_attention._extra_state"


def test_linears_are_given_what_1_5_asks_for(read: Any) -> None:
    state = {**LINEAR, "fc._extra_state": in_buffer(metadata(1))}
    edit = planned(read(state), "1.0")["fc._extra_state"]
    assert edit.steps == (Step.ADD_GLOBAL_STATE,)
    assert {"global_fp8_buffer", "global_fp8_state"} <= (after(edit).fields or {}).keys()


# The mark of registration, histories and recipes.


@pytest.mark.parametrize("gemms", [1, 2, 3])
def test_the_mark_is_removed_from_every_module(gemms: int, read: Any) -> None:
    mark = {"buffer_index_and_autocast_key": [0, "key"]}
    edit = planned(read({"m._extra_state": in_buffer(metadata(gemms, **mark))}), "1.8")
    (found,) = edit.values()
    assert found.steps == (Step.DROP_REGISTRATION,)
    assert set(after(found).extra) == {"num_gemms"}


@pytest.mark.parametrize("form", ["2.0", "2.4"])
def test_the_recipe_has_the_state_s_own_history(form: str, read: Any) -> None:
    state = {**LINEAR, "fc._extra_state": in_buffer(metadata(1))}
    edit = planned(read(state), form)["fc._extra_state"]
    assert edit.steps == (Step.ADD_RECIPE,)
    found = objects.attributes(after(edit).recipe)
    assert found["amax_history_len"] == HISTORY


def test_a_recipe_with_another_history_is_corrected_and_keeps_the_rest(read: Any) -> None:
    recipe = nodes.Call("NEWOBJ", nodes.Global(RECIPES, "DelayedScaling"), ())
    said = [("amax_history_len", 1024), ("margin", 2), ("_cached_repr", "of 1024")]
    recipe.state.append(nodes.Map(list(said)))
    (plain,) = read({**LINEAR, "fc._extra_state": in_buffer(metadata(1))}).states
    from matrix.checkpoint import encoding

    fields = [(n, encoding.tensor(t)) for n, t in plain.tensors.items() if "inv" not in n]
    whole = nodes.Map([*fields, ("recipe", recipe), ("extra_fp8_variables", nodes.Map())])
    state = {**LINEAR, "fc._extra_state": as_bytes(emit.emit(whole, 4))}
    edit = planned(read(state), "2.4")["fc._extra_state"]
    assert edit.steps == (Step.SET_HISTORY,)
    found = objects.attributes(after(edit).recipe)
    assert found == {"amax_history_len": HISTORY, "margin": 2}


@pytest.mark.parametrize(
    ("recipe", "form", "kept"),
    [
        ("Float8CurrentScaling", "1.8", False),
        ("Float8CurrentScaling", "2.0", False),
        ("Float8CurrentScaling", "2.4", True),
        ("MXFP8BlockScaling", "2.0", True),
        ("NVFP4BlockScaling", "2.4", False),
        ("CustomRecipe", "2.4", False),
    ],
)
def test_a_recipe_without_metadata_goes_where_a_release_may_lack_it(
    recipe: str, form: str, kept: bool, read: Any
) -> None:
    edit = planned(read({**LINEAR, "fc._extra_state": recipe_only(recipe)}), form)[
        "fc._extra_state"
    ]
    assert edit.steps == (() if kept else (Step.DROP_RECIPE,))
    if not kept:
        assert edit.payload == b"" or pickles.read(edit.payload or b"").root is None


def test_attention_under_a_recipe_of_its_own_is_a_loss_before_2_8(read: Any) -> None:
    """What current scaling leaves in attention from 2.8 on: slots for one matrix product."""
    state = {**LINEAR, "core_attention._extra_state": in_buffer(metadata(1, local_recipes=[1]))}
    for form in ("1.6", "1.8", "2.0"):
        with pytest.raises(LossError, match="under a recipe of its own"):
            planned(read(state), form)
        kept = planned(read(state), form, lenient=True)["core_attention._extra_state"]
        assert not kept.changes
    assert planned(read(state), "2.4")["core_attention._extra_state"].steps == ()


# Operations.


def operation(slots: dict[str, int]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for mode, count in slots.items():
        way = "bwd" if mode in ("backward", "grad_output") else "fwd"
        start = {"input": 0, "param": 1}.get(mode, 0)
        columns = torch.arange(start, start + count)
        history = torch.arange(1.0, 1.0 + HISTORY)[:, None] + 10.0 * columns
        fields[mode] = {
            f"scale_{way}": 2.0 + columns.float(),
            f"amax_history_{way}": history,
            "extra_fp8_variables": {},
        }
    return fields


OLD = {"input": 1, "param": 1, "grad_output": 1}
NEW = {"forward": 2, "backward": 1}


@pytest.mark.parametrize(
    ("slots", "form", "step", "wanted"),
    [(OLD, "2.4", Step.MERGE_MODES, NEW), (NEW, "1.13", Step.SPLIT_MODES, OLD)],
)
def test_an_operation_gets_the_modes_of_the_release(
    slots: dict[str, int], form: str, step: Step, wanted: dict[str, int], read: Any
) -> None:
    state = {"w.weight": torch.ones(8, 8), "w._extra_state": pickled(operation(slots))}
    edit = planned(read(state), form)["w._extra_state"]
    assert edit.steps == (step,)
    found = after(edit)
    expected = operation(wanted)
    for mode, fields in expected.items():
        for name, value in fields.items():
            if isinstance(value, torch.Tensor):
                held = found.tensors[f"{mode}.{name}"]
                assert held.shape == tuple(value.shape), (mode, name)
                assert held.numbers == tuple(value.reshape(-1).tolist()), (mode, name)
    inverse = found.tensors.get("param.scale_inv_fwd")
    assert (inverse is not None) is (form == "1.13")


def test_an_operation_of_other_slots_is_not_split(read: Any) -> None:
    state = {"w.weight": torch.ones(8, 8), "w._extra_state": pickled(operation({"forward": 3}))}
    with pytest.raises(CheckpointError, match="cannot be put into the modes of another release"):
        planned(read(state), "1.13")


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 2), (0, 2)])
@pytest.mark.parametrize(("slots", "form"), [(OLD, "2.0"), (NEW, "1.13")])
def test_tensors_of_odd_shapes_are_refused_in_one_sentence(
    slots: dict[str, int], form: str, shape: tuple[int, ...], read: Any
) -> None:
    fields = operation(slots)
    for mode, held in fields.items():
        way = "bwd" if mode in ("backward", "grad_output") else "fwd"
        held[f"amax_history_{way}"] = torch.ones(shape)
    contents = read({"w.weight": torch.ones(8, 8), "w._extra_state": pickled(fields)})
    try:
        edit = planned(contents, form)["w._extra_state"]
    except CheckpointError as error:
        assert "w._extra_state" in str(error)
    else:
        assert shape == (0, 2) and edit.payload


def test_no_release_before_1_13_has_a_place_for_an_operation(read: Any) -> None:
    state = {"w.weight": torch.ones(8, 8), "w._extra_state": pickled(operation(OLD))}
    with pytest.raises(LossError):
        planned(read(state), "1.8")


# The opt-in of 2.16.1 and later.


@pytest.mark.parametrize(
    ("state", "form", "wanted"),
    [
        (in_buffer(metadata(1)), "2.4", True),
        (in_buffer(None), "2.4", False),
        (in_buffer(None), "1.8", True),
        (pickled(None), "2.0", False),
        (recipe_only("MXFP8BlockScaling"), "2.4", False),
        (torch.empty(0, dtype=torch.uint8), "2.4", False),
    ],
)
def test_what_needs_the_opt_in(state: Any, form: str, wanted: bool, read: Any) -> None:
    """Metadata, and every buffer that stays one."""
    edit = planned(read({**LINEAR, "fc._extra_state": state}), form)["fc._extra_state"]
    assert edits.needs_opt_in(edit) is wanted
    dropped = planned(read({**LINEAR, "fc._extra_state": state}), "2.4", drop=["*"])
    assert not edits.needs_opt_in(dropped["fc._extra_state"])


# What became of states on their way.


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int32])
@pytest.mark.parametrize("form", ["1.13", "2.0"])
def test_a_cast_is_undone_exactly(form: str, dtype: torch.dtype, read: Any) -> None:
    whole = pickled(metadata(1))
    if form == "2.0":
        whole = recorded_state("2.2.1")["qkv._extra_state"]
    (plain,) = read({**LINEAR, "fc._extra_state": whole}).states
    cast = read({**LINEAR, "fc._extra_state": whole.to(dtype)})
    edit = planned(cast, form)["fc._extra_state"]
    assert edit.steps == (Step.UNDO_CAST,)
    assert {n: t.data for n, t in after(edit).tensors.items()} == {
        n: t.data for n, t in plain.tensors.items()
    }


def test_a_value_that_is_not_finite_is_kept_bit_for_bit(read: Any) -> None:
    fields = metadata(1)
    fields["amax_history_fwd"][0, 0] = math.nan
    fields["amax_history_fwd"][1, 1] = math.inf
    contents = read({**LINEAR, "fc._extra_state": in_buffer(fields)})
    edit = planned(contents, "2.0")["fc._extra_state"]
    before = contents.states[0].tensors["amax_history_fwd"].data
    assert after(edit).tensors["amax_history_fwd"].data == before


@pytest.mark.parametrize("drop", [True, False])
def test_other_people_s_extra_state_is_no_concern(drop: bool, read: Any) -> None:
    state = {"own._extra_state": {"seen": 7}, **LINEAR, "fc._extra_state": in_buffer(metadata(1))}
    assert set(planned(read(state), "2.0", drop=["*"] * drop)) == {"fc._extra_state"}
