"""Rule: what frameworks write is read as such, and written back as such, with its states edited."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import pickle
import warnings
from collections import OrderedDict, UserDict, namedtuple
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import layouts
from helpers.formats import layered, recorded_state, torch_zip
from helpers.layouts import State
from matrix.checkpoint import layout, states, torchfile
from matrix.doctor import Remapped, inspect, remap

FUSED = "core_attention.fused_attention._extra_state"
CORE = "core_attention._extra_state"


pytestmark = pytest.mark.usefixtures("not_tried")


def for_111(path: Path, allow: Sequence[str] = ()) -> Remapped:
    done = remap(path, path.with_name(f"new-{path.name}"), "1.11", allow=allow)
    assert done.written
    return done


def content(value: Any) -> Any:
    """What a release's loader finds in an extra state of 1.x, in which nothing is TE's."""
    if isinstance(value, io.BytesIO):
        return torch.load(io.BytesIO(value.getvalue()), weights_only=False)
    return pickle.loads(value.numpy().tobytes())


def metadata(value: Any) -> dict[str, bytes]:
    """The scales and amaxes in an extra state, as bytes, without running what it pickles."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    source = torchfile.of_bytes(buffer.getvalue())
    state = states.decode("x._extra_state", "", source.root, source)
    assert not state.problem and state.tensors
    return {k: v.data for k, v in state.tensors.items() if not k.startswith("scale_inv")}


def same_metadata(before: Any, after: Any) -> bool:
    return metadata(before) == metadata(after)


# Distributed checkpoints.


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize(
    ("release", "target"), [("1.7", "1.11"), ("1.11", "2.3"), ("2.2.1", "1.11")]
)
def test_objects_of_torch_dist(release: str, target: str, lists: bool, tmp_path: Path) -> None:
    """A list of one stays a list of one, for Megatron-LM takes the item out of it."""
    path = layouts.megatron_torch_dist(recorded_state(release), tmp_path, lists=lists)
    report = inspect(path)
    assert {module.holds for module in report.modules} == {"metadata"}
    assert len(report.modules) == 6 and report.keys == 10
    done = remap(path, tmp_path / "new", target)
    assert done.written
    before, after = layouts.dcp_load(path), layouts.dcp_load(done.out)
    assert len(before) == len(after)
    for key, value in before.items():
        new = after[key.replace(".fused_attention", "")]
        if "_extra_state" not in key:
            assert torch.equal(value, new)
        elif lists:
            assert isinstance(new, list) and len(new) == 1
            assert same_metadata(value[0], new[0])
        else:
            assert not isinstance(new, list) and same_metadata(value, new)


def test_a_list_of_one_that_holds_no_state(tmp_path: Path) -> None:
    """Megatron-LM stores other objects so, too, and the states of modules without FP8 state."""
    state = recorded_state("1.7", "attention-only")
    path = layouts.megatron_torch_dist(state, tmp_path)
    assert {m.holds for m in inspect(path).modules} == {"nothing", "metadata"}
    done = remap(path, tmp_path / "new", "2.17.1")
    after = layouts.dcp_load(done.out)
    empty = [v for k, v in after.items() if "qkv._extra_state" in k]
    assert [(type(v), v[0].numel()) for v in empty] == [(list, 0)] * 2


def test_a_users_item_in_a_distributed_checkpoint_is_left_alone(tmp_path: Path) -> None:
    state = {**recorded_state("1.7"), "own._extra_state": {"seen": 7}}
    path = layouts.dcp_save(state, tmp_path / "dcp")
    report = inspect(path)
    assert len(report.modules) == 3
    assert any("own._extra_state (dict)" in note for note in report.notes)
    done = for_111(path)
    after = layouts.dcp_load(done.out)
    assert after["own._extra_state"] == {"seen": 7} and CORE in after


def test_items_that_were_not_searched_are_told(tmp_path: Path) -> None:
    """A state dict that was saved as one object, as it is without flattening."""
    path = layouts.dcp_save({"model": recorded_state("1.7"), "w": torch.ones(2)}, tmp_path / "dcp")
    notes = inspect(path, ["1.11"]).notes
    assert "1 place not searched for FP8 state: item model" in notes
    assert not any("so no FP8 state of TE" in note for note in notes)


def test_files_that_were_not_searched_are_told(tmp_path: Path) -> None:
    path = layouts.hugging_face(recorded_state("1.7"), tmp_path)
    torch.save(recorded_state("1.7"), path / "ema.tar")
    notes = inspect(path, ["1.11"]).notes
    assert "1 place not searched for FP8 state: ema.tar" in notes
    assert not any("not searched" in note for note in inspect(tmp_path / "hf/ema.tar").notes)


def test_paths_of_nested_dicts_are_renamed_with_their_keys(tmp_path: Path) -> None:
    import torch.distributed.checkpoint as dcp

    nested: State = {"model": {"core_attention": {"fused_attention": {}}}}
    state = recorded_state("1.7")
    nested["model"]["core_attention"]["fused_attention"]["_extra_state"] = state.pop(FUSED)
    nested["model"].update(state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(nested, checkpoint_id=tmp_path / "dcp", no_dist=True)
    done = for_111(tmp_path / "dcp")
    planner_data = dcp.FileSystemReader(done.out).read_metadata().planner_data
    assert planner_data[f"model.{CORE}"] == ("model", "core_attention", "_extra_state")
    assert not any("fused" in key for key in planner_data)


def test_a_state_in_pieces_is_not_taken_for_several(tmp_path: Path) -> None:
    path = layouts.megatron_torch_dist(recorded_state("1.11"), tmp_path)
    index = path / ".metadata"
    found = pickle.loads(index.read_bytes())
    entry = next(place for place in found.storage_data if CORE in place.fqn)
    again = dataclasses.replace(entry, offset=torch.Size([7]), index=7)
    found.storage_data[again] = found.storage_data[entry]
    index.write_bytes(pickle.dumps(found))
    report = inspect(path)
    assert len(report.modules) == 6
    (split,) = [m for m in report.modules if m.holds == "unreadable"]
    assert "split into 2 pieces" in split.problem


# Megatron-LM's zarr, DeepSpeed, Hugging Face.


def test_zarr(tmp_path: Path) -> None:
    path = layouts.megatron_zarr(recorded_state("1.7"), tmp_path)
    report = inspect(path)
    assert report.format == "Megatron-LM zarr checkpoint"
    assert (report.keys, len(report.modules)) == (10, 6)
    assert not any("not searched" in note for note in report.notes)
    done = for_111(path)
    for old in path.rglob("*"):
        name = str(old.relative_to(path)).replace(".fused_attention", "")
        assert (done.out / name).exists()
        if old.is_file() and "_extra_state" not in name:
            assert (done.out / name).read_bytes() == old.read_bytes()
    shard = f"model.decoder.layers.self_attention.{CORE}/shard_1_2.pt"
    new = torch.load(done.out / shard, weights_only=False)
    assert same_metadata(recorded_state("1.7")[FUSED], new)


def test_deepspeed(tmp_path: Path) -> None:
    path = layouts.deepspeed(recorded_state("1.7"), tmp_path, model=2, data=2)
    report = inspect(path)
    assert report.format == "DeepSpeed checkpoint" and len(report.modules) == 6
    done = for_111(path)
    assert (done.out / "latest").read_text() == "global_step5"
    new = torch.load(done.out / "global_step5" / "mp_rank_01_model_states.pt", weights_only=False)
    assert same_metadata(recorded_state("1.7")[FUSED], new["module"][CORE])
    assert new["dp_world_size"] == 2
    assert len(inspect(path / "global_step5").modules) == 6


@pytest.mark.parametrize("metadata", [True, False])
def test_hugging_face_bin(metadata: bool, tmp_path: Path) -> None:
    """BytesIO states are no tensors, and count as soon as they have become some."""
    path = layouts.hugging_face(recorded_state("1.7"), tmp_path, metadata=metadata)
    (path / "runs" / "empty").mkdir(parents=True)
    assert inspect(path, ["1.11"]).format.endswith("with an index as Hugging Face writes it")
    done = for_111(path)
    assert (done.out / "config.json").read_text() == "{}" and (done.out / "runs/empty").is_dir()
    check_index(done.out / "pytorch_model.bin.index.json", metadata=metadata)


@pytest.mark.parametrize("target", ["1.11", "1.7", "1.5"])
def test_hugging_face_safetensors(target: str, tmp_path: Path) -> None:
    path = layouts.hugging_face(recorded_state("2.17.1"), tmp_path, kind="safetensors")
    dropping = target == "1.5"  # which has no attention state at all
    done = remap(path, tmp_path / "new", target, drop_fp8_state=dropping)
    check_index(done.out / "model.safetensors.index.json", metadata=True)


def check_index(index: Path, *, metadata: bool) -> None:
    """The index names every key of every shard and no other, and states the sum of sizes."""
    from safetensors.torch import load_file

    found = json.loads(index.read_text())
    keys: dict[str, str] = {}
    total = 0
    for shard in sorted({*found["weight_map"].values()}):
        file = index.parent / shard
        held = load_file(file) if file.suffix == ".safetensors" else torch.load(file)
        keys.update(dict.fromkeys(held, shard))
        total += sum(value.nbytes for value in held.values())
    assert found["weight_map"] == keys
    assert found["metadata"] == ({"total_size": total} if metadata else {})
    assert not any("do not hold" in note for note in inspect(index.parent).notes)


def test_an_index_of_shards_in_another_folder(tmp_path: Path) -> None:
    path = layouts.hugging_face(recorded_state("1.7"), tmp_path)
    index = path / "pytorch_model.bin.index.json"
    (path / "shards").mkdir()
    for shard in path.glob("*.bin"):
        shard.rename(path / "shards" / shard.name)
    odd = {**json.loads(index.read_text().replace("pytorch_model-", "shards/pytorch_model-"))}
    odd["weight_map"]["\ud800"] = next(iter(odd["weight_map"].values()))
    index.write_text(json.dumps(odd))
    done = for_111(path)
    found = json.loads((done.out / index.name).read_text())["weight_map"]
    assert CORE in found and FUSED not in found and "\ud800" in found


def test_an_index_that_names_what_is_not_there(tmp_path: Path) -> None:
    path = layouts.hugging_face(recorded_state("1.11"), tmp_path)
    index = path / "pytorch_model.bin.index.json"
    index.write_text(index.read_text().replace(CORE, FUSED))
    assert any(
        f"names {FUSED}, which the shards do not hold" in note for note in inspect(path).notes
    )


def test_the_index_that_nothing_changes_is_copied_as_it_is(tmp_path: Path) -> None:
    path = layouts.hugging_face(recorded_state("1.11"), tmp_path)
    other = tmp_path / "hf" / "ema"
    other.mkdir()
    torch.save(recorded_state("1.7"), other / "ema.pt")
    done = remap(path, tmp_path / "new", "1.11", saved_by="1.7")
    name = "pytorch_model.bin.index.json"
    assert (done.out / name).read_bytes() == (path / name).read_bytes()


# Where a state dict lies.

Pair = namedtuple("Pair", "step model")


class Plain:
    """A user's object with a state dict among its attributes."""

    def __init__(self, state: State) -> None:
        self.step = 3
        self.weights = state


class Slotted:
    """The same with slots, whose values a pickle sets apart."""

    __slots__ = ("weights",)

    def __init__(self, state: State) -> None:
        self.weights = state


class OwnDict(dict):  # type: ignore[type-arg]
    """A dict of a class of one's own."""


OWN_CLASSES = ("Plain", "Slotted", "OwnDict", "Pair", "IterableUserDict")

PLACES: dict[str, tuple[Callable[[State], Any], Callable[[Any], State]]] = {
    "at the top": (lambda s: s, lambda x: x),
    "OrderedDict": (OrderedDict, lambda x: x),
    "a tuple": (lambda s: (3, s), lambda x: x[1]),
    "a list": (lambda s: [s], lambda x: x[0]),
    "tuples in lists in dicts": (
        lambda s: {"a": [1, (2, {"b": (s,)})]},
        lambda x: x["a"][1][1]["b"][0],
    ),
    "a namespace": (lambda s: argparse.Namespace(model=s), lambda x: x.model),
    "a namespace of namespaces": (
        lambda s: {"args": argparse.Namespace(inner=argparse.Namespace(model=[s]))},
        lambda x: x["args"].inner.model[0],
    ),
    "an object's attribute": (Plain, lambda x: x.weights),
    "an object's slot": (Slotted, lambda x: x.weights),
    "a dict of another class": (OwnDict, lambda x: x),
    "a dict of another class, below": (lambda s: {"m": OwnDict(s)}, lambda x: x["m"]),
    "a UserDict": (UserDict, lambda x: x.data),
    "a named tuple": (lambda s: Pair(3, s), lambda x: x.model),
    "a key that is no text": (lambda s: {(0, 1): s}, lambda x: x[0, 1]),
    "lightning": (
        lambda s: {"state_dict": s, "pytorch-lightning_version": "2.5"},
        lambda x: x["state_dict"],
    ),
    "nested files of a trainer": (
        lambda s: {"checkpoint": {"model": {"module": s}}, "rng": [torch.get_rng_state()]},
        lambda x: x["checkpoint"]["model"]["module"],
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_state_dict_is_found_and_rewritten_where_it_lies(place: str, tmp_path: Path) -> None:
    wrap, unwrap = PLACES[place]
    state = recorded_state("1.7")
    path = tmp_path / "x.pt"
    torch.save(wrap(state), path)
    report = inspect(path, ["1.11"])
    assert len(report.modules) == 3 and report.savers == ("1.6", "1.7")
    assert not any("no key that ends in _extra_state" in note for note in report.notes)
    own = [name.removesuffix("()") for name in report.warnings]
    assert all(name.rpartition(".")[2] in OWN_CLASSES for name in own)
    done = for_111(path, allow=own)
    after = unwrap(torch.load(done.out, weights_only=False))
    assert same_metadata(state[FUSED], after[CORE])
    assert torch.equal(state["qkv.weight"], after["qkv.weight"])


def test_several_models_in_one_file(tmp_path: Path) -> None:
    """Megatron-LM's virtual pipeline: the chunks' keys are the same, their values are not."""
    one, other = recorded_state("1.7"), recorded_state("1.7")
    inside = content(other[FUSED])
    inside["scale_fwd"] *= 2
    other[FUSED] = io.BytesIO()
    torch.save(inside, other[FUSED])
    path = layouts.ranks({}, tmp_path, ["mp_rank_00"]) / "mp_rank_00" / "model_optim_rng.pt"
    torch.save({"model0": one, "model1": other, "iteration": 1}, path)
    assert len(inspect(path).modules) == 6
    after = torch.load(for_111(path).out, weights_only=False)
    assert same_metadata(one[FUSED], after["model0"][CORE])
    assert same_metadata(other[FUSED], after["model1"][CORE])
    assert not same_metadata(one[FUSED], after["model1"][CORE])


def test_places_whose_labels_would_be_the_same(tmp_path: Path) -> None:
    """``a.b`` at the top and ``b`` below ``a``, and names beyond what a label holds."""
    one, other = recorded_state("1.7"), recorded_state("1.7", "attention-only")
    long = "x" * 300
    whole = {"a.b": one, "a": {"b": other}, long + "1": one.copy(), long + "2": other.copy()}
    path = tmp_path / "x.pt"
    torch.save(whole, path)
    found = layout.find(path).read().states
    assert len({(state.inside, state.key) for state in found}) == len(found) == 12
    after = torch.load(for_111(path).out, weights_only=False)
    for key in (after["a.b"], after[long + "1"]):
        assert content(key["qkv._extra_state"]) is not None
    for key in (after["a"]["b"], after[long + "2"]):
        assert content(key["qkv._extra_state"]) is None


def test_one_dict_in_two_places_stays_one(tmp_path: Path) -> None:
    state = recorded_state("1.7")
    path = tmp_path / "x.pt"
    torch.save({"model": state, "same": (state,)}, path)
    assert len(inspect(path).modules) == 3
    after = torch.load(for_111(path).out, weights_only=False)
    assert after["model"] is after["same"][0]


def test_whole_modules_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    module.fp8_meta = {"recipe": None}  # type: ignore[assignment]
    torch.save(torch.nn.Sequential(module), tmp_path / "x.pt")
    notes = inspect(tmp_path / "x.pt").notes
    assert any("whole modules" in note and "was not read" in note for note in notes)


# Names with those of wrappers between.

WRAPPED = [
    "{}._checkpoint_wrapped_module",
    "{}._orig_mod",
    "{}.module",
    "{}._fsdp_wrapped_module",
    "{}._fsdp_wrapped_module._checkpoint_wrapped_module._orig_mod",
    "_orig_mod.{}",
    "module._fsdp_wrapped_module.{}._orig_mod",
]


@pytest.mark.parametrize("pattern", WRAPPED)
def test_wrappers_are_seen_through_and_kept(pattern: str, tmp_path: Path) -> None:
    state = {
        f"{pattern.format(key.rpartition('.')[0])}.{key.rpartition('.')[2]}": value
        for key, value in recorded_state("2.2.1").items()
    }
    path = torch_zip(state, tmp_path)
    report = inspect(path, ["1.7"])
    assert sum(module.attention for module in report.modules) == 1
    there = remap(path, tmp_path / "there.pt", "1.7")
    core = f"{pattern.format('core_attention')}._extra_state"
    fused = f"{pattern.format('core_attention')}.fused_attention._extra_state"
    held = torch.load(there.out)
    assert fused in held and core not in held
    assert same_metadata(state[core], held[fused])
    assert {k for k in held if k != fused} == {k for k in state if k != core}
    back = remap(there.out, tmp_path / "back.pt", "2.3", saved_by="1.7")
    assert set(torch.load(back.out)) == set(state)


def test_a_wrapper_around_what_goes_away_goes_with_it(tmp_path: Path) -> None:
    state = recorded_state("1.7")
    state["core_attention.fused_attention._orig_mod._extra_state"] = state.pop(FUSED)
    report = inspect(torch_zip(state, tmp_path), ["1.11"])
    assert report.savers == ("1.6", "1.7")
    held = torch.load(for_111(tmp_path / "model.pt").out, weights_only=False)
    assert CORE in held and not any("_orig_mod" in key for key in held)


# Values that an overflow leaves.


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7F800000])
@pytest.mark.parametrize("target", ["1.11", "2.3"])
def test_a_history_that_overflowed_keeps_its_bits(bits: int, target: str, tmp_path: Path) -> None:
    """NaN, quiet, signalling and with a sign, and infinity."""
    state = recorded_state("1.7")
    inside = content(state[FUSED])
    inside["amax_history_fwd"].view(torch.int32)[0, 0] = bits - (bits >> 31 << 32)
    state[FUSED] = io.BytesIO()
    torch.save(inside, state[FUSED])
    done = remap(torch_zip(state, tmp_path), tmp_path / "new.pt", target)
    assert same_metadata(state[FUSED], torch.load(done.out, weights_only=False)[CORE])


# Sizes.


def test_storages_that_are_shared_are_written_once(tmp_path: Path) -> None:
    base = torch.zeros(1 << 18)
    state = {f"w{n}": base[n:] for n in range(300)} | recorded_state("1.7")
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.pt"
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)
        assert for_111(path).out.stat().st_size < 2 << 20


def test_layers_in_a_big_folder(tmp_path: Path) -> None:
    """Keys are counted once, wherever they lie."""
    path = layouts.ranks(layered(recorded_state("1.7"), 2), tmp_path, ["mp_rank_00"])
    assert inspect(path).keys == 14
