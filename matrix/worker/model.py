"""The module under test, and the steps that TE takes around its forward and backward pass.

``MultiheadAttention`` as the FAQ's example has it: bias, no input layernorm,
fused interleaved QKV, self-attention, bf16.
"""

import contextlib
import dataclasses
import inspect
from typing import Any, Dict, Iterator, List, Optional

import torch

DIRECTIONS = {"forward": "scaling_fwd", "backward": "scaling_bwd"}
_TENSORS = ("scale", "scale_inv", "amax_history")
ATTENTION = "core_attention"


@dataclasses.dataclass
class Site:
    """One TE module that can hold FP8 metadata.

    :param path: its path in the model.
    :param name: the same for every release: for attention the path up to and including
        ``core_attention`` (1.6 and 1.7 keep the state one level deeper), unless a module above
        has that name already; otherwise the path.
    :param module: the module.
    :param attention: whether it is part of the attention.
    """

    path: str
    name: str
    module: Any
    attention: bool

    @property
    def gemms(self) -> int:
        """Number of matrix multiplications that the module declares to ``prepare_forward``."""
        # DotProductAttention.forward (1.6, 1.7: FusedAttention.forward) asks for 3.
        return 3 if self.attention else 1

    def in_use(self) -> Dict[str, torch.Tensor]:
        """Return :meth:`tensors` with the values that the kernels receive.

        From 2.0 on these come from quantizers, one per slot, which should be views of them.
        """
        found = self.tensors()
        for direction, key in DIRECTIONS.items():
            scale, history = direction + ".scale", direction + ".amax_history"
            quantizers = getattr(self.module, "quantizers", {}).get(key) or []
            # Quantizers of other recipes have no slots in these tensors.
            viewed = scale in found and len(quantizers) == len(found[scale])
            if not viewed or not all(hasattr(held, "amax") for held in quantizers):
                continue
            found[scale] = _row(found[scale], [held.scale for held in quantizers])
            newest = _row(found[history][0], [held.amax for held in quantizers])
            found[history] = torch.cat([newest[None], found[history][1:]])
        return found

    def tensors(self) -> Dict[str, torch.Tensor]:
        """Return the float32 metadata tensors themselves by name, e.g. ``forward.scale``."""
        found = {}
        for direction, key in DIRECTIONS.items():
            holder = self.module.fp8_meta.get(key)
            for name in _TENSORS:
                value = getattr(holder, name, None)
                if isinstance(value, torch.Tensor):
                    found[direction + "." + name] = value
        return found


def _row(held: torch.Tensor, slots: List[torch.Tensor]) -> torch.Tensor:
    """Return a copy of ``held`` whose first values are those of the slots."""
    values = held.detach().clone()
    for place, slot in enumerate(slots):
        values[place] = slot
    return values


def _te() -> Any:
    import transformer_engine.pytorch

    return transformer_engine.pytorch


def recipe(fields: Dict[str, Any]) -> Any:
    """Build ``DelayedScaling``, with FP8 attention if the release has that.

    :param fields: further fields from the scenario.
    :raises ValueError: the recipe of the release has no such field.
    """
    from transformer_engine.common.recipe import DelayedScaling

    known = inspect.signature(DelayedScaling).parameters
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise ValueError("DelayedScaling has no field {}".format(", ".join(unknown)))
    attention = {"fp8_dpa": True, "fp8_mha": False}
    return DelayedScaling(**dict({k: v for k, v in attention.items() if k in known}, **fields))


def build(scenario: Dict[str, Any], recipe_fields: Dict[str, Any]) -> Any:
    """Construct the scenario's model: one attention module, or a list of them."""
    layers = [_build_layer(scenario, recipe_fields) for _ in range(scenario["layers"])]
    return layers[0] if len(layers) == 1 else torch.nn.ModuleList(layers)


def fill(parameter: torch.Tensor, stride: int = 1, largest: float = 1.0) -> None:
    """Fill a tensor in place with a fixed pattern, exact in bf16, within (-1, 1) * ``largest``.

    Modules are initialised by it too: casting random weights would leave their amaxes in the
    metadata of modules with FP8 weights.
    """
    with torch.no_grad():
        steps = torch.arange(parameter.numel()) * stride
        pattern = (steps % 251 - 125).to(torch.float32) / 128 * largest
        parameter.copy_(pattern.to(torch.bfloat16).reshape(parameter.shape))


def _build_layer(scenario: Dict[str, Any], recipe_fields: Dict[str, Any]) -> Any:
    with _fp8_weights(scenario["weights"] == "fp8", recipe_fields):
        layer = _te().MultiheadAttention(
            scenario["hidden_size"],
            scenario["attention_heads"],
            bias=True,
            params_dtype=torch.bfloat16,
            input_layernorm=False,
            fuse_qkv_params=True,
            attention_type="self",
            # FP8 attention trains without dropout, which leaves no trace in a checkpoint.
            attention_dropout=0.0,
            qkv_weight_interleaved=True,
            init_method=fill,
            output_layer_init_method=fill,
        )
    return layer.to(dtype=torch.bfloat16, device="cuda")


def _fp8_weights(enabled: bool, recipe_fields: Dict[str, Any]) -> Any:
    """Return TE's own context for building modules with FP8 weights."""
    if not enabled:
        return contextlib.nullcontext()
    context = getattr(_te(), "quantized_model_init", None) or _te().fp8_model_init
    if "recipe" in inspect.signature(context).parameters:
        return context(enabled=True, recipe=recipe(recipe_fields))
    return context(enabled=True)


def sites(model: Any) -> List[Site]:
    """Return the TE modules of a model that can hold FP8 metadata, in forward order."""
    found: List[Site] = []
    for path, module in model.named_modules():
        if hasattr(module, "fp8_meta") and hasattr(module, "prepare_forward"):
            head, mark, _rest = path.partition(ATTENTION)
            name = head + mark if mark else path
            taken = any(site.name == name for site in found)
            found.append(Site(path, path if taken else name, module, bool(mark)))
    return found


def weights(model: Any) -> Dict[str, torch.Tensor]:
    """Return every parameter and persistent buffer of a model, by its key in the state dict.

    The state dict itself is not asked: it may raise, or lack one of them.
    """
    found: Dict[str, torch.Tensor] = dict(model.named_parameters())
    for path, module in model.named_modules():
        unsaved = module._non_persistent_buffers_set
        for name, tensor in module.named_buffers(path, recurse=False):
            if name.rpartition(".")[2] not in unsaved:
                found[name] = tensor
    return found


def autocast(chosen: Any) -> Any:
    """Return TE's autocast context with a recipe."""
    te = _te()
    if hasattr(te, "autocast"):
        return te.autocast(enabled=True, recipe=chosen)
    return te.fp8_autocast(enabled=True, fp8_recipe=chosen)


@contextlib.contextmanager
def forward(site: Site, hidden_size: int) -> Iterator[None]:
    """Run what TE runs around the forward pass of a module, without its kernels.

    That is ``TransformerEngineBaseModule.prepare_forward``, which initialises the FP8 metadata
    if necessary and registers it for amax reduction.
    """
    module = site.module
    # From 2.16 the context manager has a name of its own.
    prepare = getattr(module, "prepare_forward_ctx", None) or module.prepare_forward
    known = inspect.signature(prepare).parameters
    options = {"num_gemms": site.gemms, "is_first_microbatch": None}
    inp = torch.ones(16, hidden_size, dtype=torch.bfloat16, device="cuda")
    with prepare(inp, **{k: v for k, v in options.items() if k in known}):
        yield


def read_before_update(site: Site) -> None:
    """Have the next :func:`forward` leave the metadata as it was loaded.

    Releases up to 1.5 begin a forward pass with the update that later ones end the step before
    with, if the checkpoint says that it is due (``update_amax_and_scale_fwd`` in
    ``prepare_forward``, pytorch/module/base.py). It is computed from what was loaded.
    """
    site.module.fp8_meta.pop("update_amax_and_scale_fwd", None)


def global_state() -> Any:
    """Return the release's ``FP8GlobalStateManager``."""
    for name in ("quantization", "fp8"):
        try:
            module = __import__(
                "transformer_engine.pytorch." + name, fromlist=["FP8GlobalStateManager"]
            )
            return module.FP8GlobalStateManager
        except (ImportError, AttributeError):
            continue
    raise ImportError("no FP8GlobalStateManager in this release")


def finish_backward() -> Optional[str]:
    """Run TE's reduction of the backward amaxes, as at the end of a backward pass.

    :returns: None, or why it could not be run. Up to 1.5 each module updates its own metadata
        and there is nothing to call.
    """
    reduce = getattr(global_state(), "reduce_and_update_fp8_tensors", None)
    if reduce is None:
        return "FP8GlobalStateManager.reduce_and_update_fp8_tensors does not exist"
    reduce(forward=False)
    return None
