"""Rule: the worker stands alone, and its digests mean what they say."""

from __future__ import annotations

import ast
import contextlib
import enum
import io
import pickle
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import matrix

WORKER = Path(matrix.__file__).parent / "worker"
ALLOWED = {"matrix.worker", "torch", "transformer_engine"} | set(sys.stdlib_module_names)


def _allowed(name: str) -> bool:
    return any(name == known or name.startswith(f"{known}.") for known in ALLOWED)


@pytest.mark.parametrize("path", sorted(WORKER.rglob("*.py")), ids=lambda path: path.stem)
def test_it_parses_on_3_8_and_needs_torch_and_te_only(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module)
    assert {name for name in imported if not _allowed(name)} == set()


class Box:
    """Something picklable that a state may hold."""

    def __init__(self, value: int) -> None:
        self.value = value


def state(**changes: Any) -> dict[str, Any]:
    payload = {"scale_fwd": torch.ones(3), "extra": {"n": 1}, "box": Box(1)} | changes
    raw = torch.frombuffer(bytearray(pickle.dumps(payload)), dtype=torch.uint8)
    return {"weight": torch.zeros(2, 2), "_extra_state": raw}


def test_the_same_state_has_the_same_digest(worker: Any) -> None:
    of_state = worker("digest").of_state
    assert of_state(state()) == of_state(state())


@pytest.mark.parametrize(
    "other",
    [
        state(scale_fwd=torch.full((3,), 2.0)),
        state(scale_fwd=torch.ones(3, dtype=torch.float64)),
        state(scale_fwd=torch.ones(1, 3)),
        state(extra={"n": 2}),
        state(extra={"n": True}),
        state(box=Box(2)),
        {**state(), "more": torch.zeros(1)},
        {"weight": torch.zeros(2, 2), "_extra_state": torch.empty(0, dtype=torch.uint8)},
    ],
)
def test_another_state_has_another_digest(worker: Any, other: dict[str, Any]) -> None:
    of_state = worker("digest").of_state
    assert of_state(other) != of_state(state())


def test_the_container_is_part_of_the_state(worker: Any) -> None:
    of_state = worker("digest").of_state
    stream = io.BytesIO()
    torch.save(None, stream)
    nothing = torch.frombuffer(bytearray(pickle.dumps(None)), dtype=torch.uint8)
    empty = torch.empty(0, dtype=torch.uint8)
    digests = {of_state({"_extra_state": payload}) for payload in (stream, nothing, empty)}
    assert len(digests) == 3


def test_a_number_that_differs_between_processes_is_left_out(worker: Any) -> None:
    of_state = worker("digest").of_state
    with_hash = state(extra={"key": f"recipe:{hash(None)}"})
    without = state(extra={"key": "recipe:hash(None)"})
    assert of_state(with_hash) == of_state(without)


def test_where_a_function_was_in_memory_is_left_out(worker: Any) -> None:
    """A recipe's text, which is saved with it from 2.16 on, names a user's function so."""
    of_state = worker("digest").of_state
    texts = [
        f"CustomRecipe, qfactory=<function {name}>, x=1" for name in ("f at 0x7f10", "f at 0x9a")
    ]
    assert of_state(state(extra={"text": texts[0]})) == of_state(state(extra={"text": texts[1]}))
    other = texts[0].replace("function f", "function g")
    assert of_state(state(extra={"text": texts[0]})) != of_state(state(extra={"text": other}))


def test_the_mapping_moves_every_attention_key(worker: Any) -> None:
    remap = worker("rewriting").remap
    found = remap(
        {
            "0.core_attention.fused_attention._extra_state": 1,
            "1.core_attention.fused_attention._extra_state": 2,
            "0.qkv._extra_state": 3,
        }
    )
    assert found == {
        "0.core_attention._extra_state": 1,
        "1.core_attention._extra_state": 2,
        "0.qkv._extra_state": 3,
    }


def test_a_bug_of_ours_is_told_from_an_error_of_the_release(worker: Any, tmp_path: Path) -> None:
    loading, model = worker("loading"), worker("model")
    scenario = {"weights_only": False, "strict": True, "distributed": False, "state": "all"}
    request = {
        "scenario": scenario,
        "steps": True,
        "opt_in": None,
        "rewrite": None,
        "path": str(tmp_path / "x"),
    }
    with pytest.raises(FileNotFoundError):  # the file is ours to provide
        loading.load(torch.nn.Linear(1, 1), request)
    (tmp_path / "x").write_bytes(b"not a checkpoint")
    torn = loading.load(torch.nn.Linear(1, 1), request)
    assert (torn["stage"], torn["error"] is None) == ("deserialize", False)
    torch.save({"weight": torch.zeros(2, 2)}, tmp_path / "x")
    wrong = loading.load(torch.nn.Linear(1, 1), request)
    assert (wrong["stage"], wrong["error"]["type"]) == ("load_state_dict", "RuntimeError")
    assert wrong["missing_keys"] == ["bias"]
    with pytest.raises(AttributeError):  # called without what the model needs
        model.sites(None)
    assert worker("raising").is_ours(MemoryError())


def test_an_errors_text_names_no_folder_of_this_machine(worker: Any) -> None:
    text = (
        "Can't get 'X' on <module 't' from '/home/me/my cache/0ab/transformer_engine/x.py'>\n"
        'File "/usr/lib/site-packages/torch/nn/module.py", line 3, object at 0x7f00deadbeef'
    )
    assert worker("raising")._without_addresses(text) == (
        "Can't get 'X' on <module 't' from 'transformer_engine/x.py'>\n"
        'File "torch/nn/module.py", line 3, object at 0x...'
    )


def test_controls_do_not_touch_their_input(worker: Any) -> None:
    rewriting = worker("rewriting")
    before = state()
    kept = dict(before)
    for rewrite in rewriting.REWRITES.values():
        rewrite(before)
    assert before == kept
    truncated = rewriting.truncate_payload(before)["_extra_state"]
    assert truncated.numel() == before["_extra_state"].numel() // 2
    assert rewriting.empty_payload(before)["_extra_state"].numel() == 0


@pytest.mark.parametrize(("rewrite", "calls"), [(None, 1), ("remap", 1), ("twice", 2)])
def test_how_often_a_state_dict_is_loaded(
    worker: Any, tmp_path: Path, rewrite: str | None, calls: int
) -> None:
    loading = worker("loading")
    seen = []

    class Model(torch.nn.Linear):
        def load_state_dict(self, state: Any, strict: bool = True) -> Any:
            seen.append(strict)
            return super().load_state_dict(state, strict=strict)

    built = Model(2, 2)
    torch.save(built.state_dict(), tmp_path / "x.pt")
    scenario = {"distributed": False, "weights_only": True, "strict": True}
    request = {"scenario": scenario, "path": str(tmp_path / "x.pt"), "rewrite": rewrite}
    found: dict[str, Any] = {}
    loading._run(built, {**request, "steps": False}, loading._Trace(), found)
    assert seen == [True] * calls
    assert found["changed_weights"] == []


def test_a_default_is_told_from_a_canary(worker: Any) -> None:
    canary = worker("canary")
    assert canary.is_default("forward.scale", torch.ones(3))
    assert canary.is_default("forward.amax_history", torch.zeros(4, 3))
    assert not canary.is_default("forward.scale", torch.tensor([1.0, 1.0, 2.0]))
    one_left = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert canary.holds_defaults_somewhere("forward.amax_history", one_left)
    assert canary.holds_defaults_somewhere("forward.scale", torch.tensor([float("nan"), 2.0]))


def test_casts_saturate_and_come_back(worker: Any) -> None:
    fp8 = worker("standin.fp8")
    numbers = torch.tensor([0.5, -1.0, 1e6])
    data = fp8.quantize(numbers, torch.tensor([2.0]), "kFloat8E4M3")
    back = fp8.dequantize(data, torch.tensor([0.5]), "kFloat8E4M3", torch.float32)
    assert back.tolist() == [0.5, -1.0, 224.0]


def test_a_step_rolls_the_history_and_moves_the_scale(worker: Any) -> None:
    fp8 = worker("standin.fp8")
    history = torch.tensor([[0.0], [1.0], [4.0]])
    scale, inverse = torch.ones(1), torch.ones(1)
    fp8.update_amax_and_scale(history, scale, inverse, torch.tensor([2.0]), "max", 448.0, 0)
    assert history.flatten().tolist() == [0.0, 4.0, 2.0]
    assert scale.item() == 112.0
    assert inverse.item() == pytest.approx(1 / 112)


@pytest.mark.parametrize(("version", "number"), [("1.0", 6), ("2.3", 6), ("2.4", 7), ("2.20.2", 7)])
def test_numbers_behind_dtype_moved_once(extension: Any, version: str, number: int) -> None:
    assert int(extension(version).DType.kFloat8E4M3) == number


def test_a_gap_is_noted_even_when_it_is_swallowed(worker: Any) -> None:
    gap = worker("standin.gap")
    missing = gap.Missing("tex.fused_attn_fwd")
    assert missing.SomeEnum.A is missing.SomeEnum.A
    assert gap.met() == []
    with pytest.raises(gap.EmulationGap):
        missing.SomeEnum.A()
    assert gap.met() == ["tex.fused_attn_fwd.SomeEnum.A"]


def test_dtype_pickles_by_number_under_the_extensions_name(extension: Any) -> None:
    old = extension("2.3")
    data = pickle.dumps(old.DType.kFloat8E4M3, protocol=2)
    assert b"transformer_engine_torch\nDType" in data
    extension("2.4")
    assert pickle.loads(data).name == "kBFloat16"


def test_an_error_of_the_stand_in_is_a_gap(extension: Any, worker: Any) -> None:
    tex = extension("1.13")
    gap = worker("standin.gap")
    kind = tex.DType.kFloat8E4M3
    with pytest.raises(gap.EmulationGap, match="cast_from_fp8.*AttributeError"):
        tex.cast_from_fp8(1, 2, kind, tex.DType.kFloat32)
    with pytest.raises(gap.EmulationGap, match="an FP8 type"):
        tex.cast_from_fp8(torch.zeros(1), torch.ones(1), tex.DType.kByte, tex.DType.kFloat32)
    assert len(gap.met()) == 2


def test_names_that_no_real_build_exports_are_absent(extension: Any) -> None:
    tex = extension("2.20.2")
    assert getattr(tex, "flash_attention", None) is None
    with pytest.raises(AttributeError):
        _ = tex.cast_to_fp8


@pytest.mark.parametrize(("version", "candidate"), [("99.0", False), ("2.20.2", True)])
def test_a_candidate_may_export_more_than_is_known(
    extension: Any, worker: Any, version: str, candidate: bool
) -> None:
    tex = extension(version, candidate=candidate)
    assert getattr(tex, "flash_attention", None) is None
    assert tex.something_new is tex.something_new
    with pytest.raises(worker("standin.gap").EmulationGap, match="something_new"):
        tex.something_new()


@pytest.fixture
def attention(worker: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An attention's metadata after a step, and the slots as a release numbers them."""
    training = worker("training")
    slots = {"META_QKV": 2, "META_S": 8, "META_O": 3, "META_DO": 3, "META_DP": 5, "META_DQKV": 0}
    monkeypatch.setattr(training, "_slot", slots.__getitem__)
    tensors = {
        "forward.scale": torch.full((9,), 2.0),
        "forward.amax_history": torch.ones(4, 9),
        "backward.scale": torch.full((6,), 2.0),
        "backward.amax_history": torch.ones(4, 6),
    }
    site = worker("modules.sites").Site("core_attention", "core_attention", None, True)
    site.tensors = lambda: tensors
    watch = training.AttentionRecorder()
    return lambda: training.unused([site], watch), tensors, watch


def test_slots_that_fp8_attention_wrote_are_all_told(attention: Any) -> None:
    unused, tensors, _watch = attention
    assert unused() == []
    tensors["forward.scale"][4] = 1.0
    assert unused() == []  # nothing trains in slot 4


@pytest.mark.parametrize(
    ("name", "slot", "value", "missing"),
    [
        ("forward.scale", 8, 1.0, "META_S of forward"),
        ("forward.scale", 2, float("inf"), "META_QKV of forward"),
        ("backward.amax_history", 5, 0.0, "META_DP of backward"),
    ],
)
def test_a_slot_that_fp8_attention_did_not_write_is_named(
    attention: Any, name: str, slot: int, value: float, missing: str
) -> None:
    unused, tensors, _watch = attention
    tensors[name][..., slot] = value
    assert unused() == [f"core_attention: {missing}"]


def test_a_gradient_that_comes_in_fp8_is_quantized_by_the_next_module(attention: Any) -> None:
    unused, tensors, watch = attention
    tensors["backward.scale"][3] = 1.0
    assert unused() == ["core_attention: META_DO of backward"]
    watch.passes_fp8 = True
    assert unused() == []


class Attention(torch.nn.Module):
    """Calls one backend, as DotProductAttention does, and hands its output on."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.fused_attention = Backend()
        self.flash_attention = Backend()
        self.output = output

    def forward(self, kernel: Any) -> Any:
        self.fused_attention(fused_attention_backend=kernel)
        return self.output


class Backend(torch.nn.Module):
    def forward(self, fused_attention_backend: Any) -> None:
        pass


class Quantized(torch.Tensor):
    """What a release hands on in FP8 is a tensor of a class of its own."""


@pytest.mark.parametrize(
    ("known", "kernel", "name"),
    [
        ({"FP8": "number 2", "F16": "number 1"}, "number 2", "Backend/FP8"),
        (enum.IntEnum("Backends", {"F16": 1, "FP8": 2}), 2, "Backend/FP8"),
        ({"FP8": "number 2"}, "unheard of", "Backend/unheard of"),
        ({}, None, "Backend"),
    ],
)
def test_the_backend_that_ran_is_named_as_the_release_names_it(
    worker: Any, monkeypatch: pytest.MonkeyPatch, known: Any, kernel: Any, name: str
) -> None:
    training = worker("training")
    fused_attn = types.SimpleNamespace(FusedAttnBackend=known)
    place = "transformer_engine.pytorch.cpp_extensions.fused_attn"
    monkeypatch.setitem(sys.modules, place, fused_attn)
    model = torch.nn.ModuleDict({"core_attention": Attention(torch.ones(1))})
    with training.recording(model) as watch:
        model["core_attention"](kernel)
    model["core_attention"](kernel)
    assert watch.backends == {name}
    assert not watch.passes_fp8


def test_an_output_in_fp8_is_noticed(worker: Any) -> None:
    training = worker("training")
    model = torch.nn.ModuleDict({"core_attention": Attention(torch.ones(1).as_subclass(Quantized))})
    with training.recording(model) as watch:
        model["core_attention"](None)
    assert watch.passes_fp8
    assert training.is_fp8("FusedAttention/FP8")
    assert not training.is_fp8("FusedAttention/F16_arbitrary_seqlen")


@pytest.mark.parametrize(
    "ran", [set(), {"FlashAttention"}, {"FusedAttention/FP8", "FlashAttention"}]
)
def test_training_without_fp8_attention_is_refused(
    worker: Any, monkeypatch: pytest.MonkeyPatch, ran: set[str]
) -> None:
    saving, training = worker("saving"), worker("training")

    def train(_built: Any, *_rest: Any) -> None:
        watch.backends |= ran

    watch = training.AttentionRecorder()
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(training, "recording", lambda built: contextlib.nullcontext(watch))
    with pytest.raises(saving.Refused, match="FP8 attention did not run"):
        saving._train(torch.nn.Linear(1, 1), ["a part"], {"save_recipe": {}})


def test_a_tensor_that_is_no_longer_finite_does_not_live_on(worker: Any) -> None:
    loading = worker("loading")
    now = {"forward.scale": torch.tensor([torch.nan]), "backward.scale": torch.tensor([2.0])}
    part = types.SimpleNamespace(path="p", name="n", tensors=lambda: now)
    before = {name: torch.ones(1) for name in now}
    moved = loading._moved(part, before)["moved"]
    assert moved == {"forward.scale": False, "backward.scale": True}


def test_a_history_of_one_row_tells_nothing_of_a_step(worker: Any) -> None:
    now = {"forward.scale": torch.tensor([2.0]), "forward.amax_history": torch.zeros(1, 1)}
    part = types.SimpleNamespace(path="p", name="n", tensors=lambda: now)
    before = {"forward.scale": torch.ones(1), "forward.amax_history": torch.zeros(1, 1)}
    assert worker("loading")._moved(part, before)["moved"] == {"forward.scale": True}


@pytest.mark.skipif(torch.version.cuda is not None, reason="this PyTorch is built with CUDA")
def test_a_probe_says_why_there_is_no_gpu(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = worker("device").probe
    assert "is built without CUDA" in probe()["without"]
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "finds no CUDA GPU" in probe()["without"]
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "PyTorch cannot be imported" in probe()["without"]


def test_no_lower_precision_holds_a_canary(worker: Any) -> None:
    canary = worker("canary")
    like = torch.zeros(1024, 9)
    for tensor in (canary._scales(like[0], 40), canary._amaxes(like, 40)):
        assert len(set(tensor.flatten().tolist())) > 8
        for lower in (torch.bfloat16, torch.float16):
            assert not (tensor.to(lower).to(torch.float32) == tensor).any()


def test_entries_are_compared_by_their_bytes(worker: Any) -> None:
    digest = worker("digest")
    before = state() | {"old": io.BytesIO(b"abc")}
    seen = digest.of_entries(before)
    before["old"].read()
    assert digest.of_entries(before) == seen
    before["weight"][0, 0] = 1.0
    before["_extra_state"][3] += 1
    before["old"].write(b"d")
    changed = digest.of_entries(before)
    assert [key for key in seen if seen[key] != changed[key]] == list(seen)


class FakeRecipe:
    def __init__(self, margin: int) -> None:
        self.margin = margin


def a_module(recipe: Any, quantized: torch.Tensor) -> Any:
    """A module of 2.x as far as a part needs one: metadata and its quantizers."""
    held = SimpleNamespace(scale=torch.tensor([3.0, 5.0]), amax_history=torch.ones(4, 2))
    slots = [SimpleNamespace(scale=s, amax=torch.ones(1)) for s in quantized]
    return SimpleNamespace(
        fp8_meta={"scaling_fwd": held, "recipe": recipe}, quantizers={"scaling_fwd": slots}
    )


def test_metadata_is_read_as_kernels_are_handed_it(worker: Any) -> None:
    site = worker("modules.sites").Site
    whole = site("a", "a", a_module(None, torch.tensor([3.0, 5.0])), True)
    assert all(torch.equal(whole.in_use()[k], v) for k, v in whole.tensors().items())
    stale = site("a", "a", a_module(None, torch.tensor([1.0, 5.0])), True)
    assert stale.in_use()["forward.scale"].tolist() == [1.0, 5.0]
    assert stale.tensors()["forward.scale"].tolist() == [3.0, 5.0]
    mixed = site("a", "a", a_module(None, torch.ones(3)), True)
    assert mixed.in_use()["forward.scale"].tolist() == [3.0, 5.0]


def test_a_lost_recipe_is_noticed(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loading, model = worker("loading"), worker("model")
    site = worker("modules.sites").Site("a", "a", a_module(FakeRecipe(1), torch.ones(2)), True)
    monkeypatch.setattr(model, "sites", lambda _built: [site])

    def lost(state: dict[str, Any]) -> list[str]:
        return loading._lost_recipes(None, {"a": loading._payload(state, site)})

    for saved, paths in ((FakeRecipe(1), []), (FakeRecipe(2), ["a"])):
        raw = torch.frombuffer(bytearray(pickle.dumps({"recipe": saved})), dtype=torch.uint8)
        assert lost({"a._extra_state": raw}) == paths
        assert lost({"a._extra_state": raw[:9]}) == []
    assert lost({}) == []


def test_the_attention_s_state_is_found_under_the_key_of_1_6_and_1_7(worker: Any) -> None:
    site = worker("modules.sites").Site("a", "a", None, True)
    raw = torch.frombuffer(bytearray(pickle.dumps({"scale_fwd": 1})), dtype=torch.uint8)
    found = worker("loading")._payload({"a.fused_attention._extra_state": raw}, site)
    assert found == {"scale_fwd": 1}


def test_a_resized_history_agrees_on_the_common_rows_and_is_zero_beyond(worker: Any) -> None:
    is_resized = worker("facts").is_resized
    saved = torch.arange(1.0, 9.0).reshape(4, 2)
    longer = torch.cat([saved, torch.zeros(2, 2)])
    assert is_resized(longer, saved)
    assert is_resized(saved[:2], saved)
    assert not is_resized(saved, saved)
    assert not is_resized(longer.roll(1, dims=0), saved)
    assert not is_resized(longer + 1, saved)
    assert not is_resized(saved[:2].roll(1, dims=0), saved)


def test_weights_are_compared_by_data_and_scales_where_they_are_quantized(worker: Any) -> None:
    same_weight = worker("digest").same_weight

    class Quantized:
        def __init__(self, data: float, scale: float) -> None:
            self._data, self._scale_inv = torch.tensor([data]), torch.tensor([scale])
            self.dtype = torch.bfloat16

        def from_float8(self) -> torch.Tensor:
            return (self._data * self._scale_inv).to(torch.bfloat16)

    assert same_weight(Quantized(2.0, 0.5), Quantized(2.0, 0.5))
    assert not same_weight(Quantized(2.0, 0.5), Quantized(1.0, 1.0))
    assert same_weight(Quantized(2.0, 0.5), torch.ones(1, dtype=torch.bfloat16))
    assert not same_weight(torch.zeros(1, dtype=torch.bfloat16), Quantized(2.0, 0.5))
    assert same_weight(torch.ones(2), torch.ones(2))
    assert not same_weight(torch.ones(2), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("part", ["_amax_rowwise", "_columnwise_data", "_columnwise_scale_inv"])
def test_all_that_quantized_values_are_made_of_is_compared(worker: Any, part: str) -> None:
    same_weight = worker("digest").same_weight
    names = [f"_{way}wise_{what}" for way in ("row", "column") for what in ("data", "scale_inv")]
    parts = {name: torch.ones(2) for name in [*names, "_amax_rowwise"]}
    whole, other = SimpleNamespace(**parts), SimpleNamespace(**{**parts, part: torch.zeros(2)})
    rowwise = {name: value for name, value in parts.items() if "column" not in name}
    assert same_weight(whole, SimpleNamespace(**parts))
    assert not same_weight(whole, other)
    # A copy that one side never made is no difference.
    assert same_weight(whole, SimpleNamespace(**rowwise))


def test_no_parameter_is_built_with_what_it_is_saved_with(worker: Any) -> None:
    canary, building = worker("canary"), worker("modules.building")
    saved = torch.nn.ParameterList(torch.nn.Parameter(torch.zeros(64, 64)) for _ in range(60))
    canary.fill_weights(saved)
    built = torch.zeros(64, 64)
    building.initialise(built)
    assert not any(torch.equal(built, parameter) for parameter in saved)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ({"recipe": FakeRecipe(2)}, "the recipe is not the one that the module holds"),
        ({"scale_fwd": 1}, "neither the recipe nor scale_inv is saved"),
    ],
)
def test_a_save_without_its_recipe_is_spoilt(worker: Any, payload: Any, complaint: str) -> None:
    unlike = worker("saving")._unlike_recipe
    site = worker("modules.sites").Site("a", "a", a_module(FakeRecipe(1), torch.ones(2)), True)
    assert unlike(site, payload) == [f"a._extra_state: {complaint}"]
    assert unlike(site, {"recipe": FakeRecipe(1)}) == []
    assert unlike(site, {"scale_inv_fwd": 1}) == []


def without_tool(*_args: object, **_options: object) -> str:
    raise FileNotFoundError("nvidia-smi")


@pytest.mark.parametrize(
    ("said", "driver"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95  Release\n", "580.95"),
        ("nothing to go by\n", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_gpu_without_the_driver_s_tool_still_has_a_driver(
    worker: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str | None, driver: str
) -> None:
    device = worker("device")
    if said is not None:
        (tmp_path / "version").write_text(said)
    monkeypatch.setattr(device, "_KERNEL_MODULE", str(tmp_path / "version"))
    monkeypatch.setattr(device.subprocess, "check_output", without_tool)
    assert device._driver() == driver


class Stubborn(torch.nn.Linear):
    """A module whose state dict cannot be made."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.register_buffer("kept", torch.ones(1))
        self.register_buffer("dropped", torch.ones(1), persistent=False)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        raise AttributeError("no attribute 'amax_history'")


def test_weights_are_found_without_the_state_dict(worker: Any) -> None:
    layers = torch.nn.ModuleList([Stubborn()])
    assert list(worker("model").weights(layers)) == ["0.weight", "0.bias", "0.kept"]


def test_a_model_whose_state_dict_raises_is_built(
    worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = worker("cell")
    monkeypatch.setattr(cell.model, "build", lambda *_arguments: Stubborn())
    monkeypatch.setattr(cell.recipes, "make", lambda _chosen: None)
    monkeypatch.setattr(cell.lanes, "prepare", lambda _request: None)
    assert cell.enter({"scenario": {"load_recipe": {}}, "steps": True}) == {"gaps": []}


def test_a_weight_that_is_left_out_of_the_state_dict_is_a_flaw(worker: Any) -> None:
    held = torch.nn.Linear(2, 2)
    found = held.state_dict()
    del found["bias"]
    assert worker("saving")._unlike_weights(held, found) == ["bias is not what the module holds"]


def test_a_weight_that_changes_when_fp8_starts_is_changed(worker: Any) -> None:
    held = torch.nn.Linear(2, 2)
    saved = {name: tensor.clone() for name, tensor in held.state_dict().items()}
    found = {"changed_weights": ["bias"]}
    with torch.no_grad():
        held.weight[0, 0] += 1
        held.bias[0] += 1
    worker("loading")._compare_again(held, saved, found)
    assert found == {"changed_weights": ["bias", "weight"]}


SAVED_PLAIN = {"distributed": False}


def test_a_file_that_cannot_be_written_is_no_error_of_the_release(
    worker: Any, tmp_path: Path
) -> None:
    written = worker("saving")._written
    with pytest.raises(FileNotFoundError):
        written(torch.nn.Linear(1, 1), str(tmp_path / "no folder" / "a.pt"), SAVED_PLAIN)
    _state, error = written(torch.nn.Linear(1, 1), str(tmp_path / "a.pt"), SAVED_PLAIN)
    assert error is None
    assert set(torch.load(tmp_path / "a.pt")) == {"weight", "bias"}
