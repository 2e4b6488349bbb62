"""Real FP8 training steps on a GPU, after which the metadata has values from kernels."""

import contextlib
import importlib
import math
from typing import Any, Dict, Iterator, List, Set

import torch

from matrix.worker import model
from matrix.worker.modules import recipes
from matrix.worker.modules.sites import Site

STEPS = 3
FURTHER_STEPS = 2
FURTHER_GAIN = 2.0**6
"""Factor for the input of further steps; the loss is multiplied by its fourth power.

A scale follows the largest amax in the history. The first steps, whose scales are still 1, have
extreme amaxes; only an amax beyond them changes the scale.
"""

WEIGHTS = 2.0**-6
"""Magnitude of the largest weight, by which activations and gradients stay in range."""

SEQUENCE = 256  # FP8 attention of the older releases wants multiples of 128
BATCH = 2

# What attention kernels quantize, by the names that releases have for the slots:
# ``META_*`` in pytorch/cpp_extensions/fused_attn.py, up to 1.10 in pytorch/attention.py.
_USED = {
    "forward": ("META_QKV", "META_S", "META_O"),
    "backward": ("META_DO", "META_DP", "META_DQKV"),
}
_MODULES = ("cpp_extensions.fused_attn", "attention")
# Children of DotProductAttention in every release; it calls one of them.
ATTENTION = "core_attention"
_BACKENDS = ("flash_attention", "fused_attention", "unfused_attention")


def train(
    built: Any, scenario: Dict[str, Any], recipe: Dict[str, Any], steps: int, gain: float = 1.0
) -> None:
    """Run forward and backward passes under FP8 autocast, always with the same data.

    :param recipe: further fields of the recipe.
    :param gain: factor for the data; the loss is multiplied by its fourth power.
    """
    chosen = recipes.make(recipe)
    for _step in range(steps):
        with recipes.autocast(chosen):
            outs = _forward(built, scenario, gain)
        (gain**4 * sum(out.float().square().sum() for out in outs)).backward()
        if scenario["state"] == "attention":
            # Only linears run it at the end of a backward pass.
            model.finish_backward()
    torch.cuda.synchronize()


def output(built: Any, scenario: Dict[str, Any], recipe: Dict[str, Any]) -> torch.Tensor:
    """Return the module's output for the training data; the metadata is not changed.

    Without gradients TE updates no scale and rolls no history.

    :returns: bf16, on the CPU: layers, sequence, batch, hidden size.
    """
    with torch.no_grad(), recipes.autocast(recipes.make(recipe)):
        outs = _forward(built, scenario, 1.0)
    return torch.stack([out.detach().reshape(SEQUENCE, BATCH, -1).cpu() for out in outs])


def _forward(built: Any, scenario: Dict[str, Any], gain: float) -> List[torch.Tensor]:
    layers = built if isinstance(built, torch.nn.ModuleList) else [built]
    step = _attend if scenario["state"] == "attention" else _whole
    return [step(layer, scenario, gain) for layer in layers]


def _whole(layer: Any, scenario: Dict[str, Any], gain: float) -> torch.Tensor:
    out = layer(_data(gain, scenario["hidden_size"]))
    return out[0] if isinstance(out, tuple) else out


def _attend(layer: Any, scenario: Dict[str, Any], gain: float) -> torch.Tensor:
    """Run only the attention, so that the linears never use FP8."""
    heads = scenario["attention_heads"]
    width = scenario["hidden_size"] // heads
    return layer.core_attention(*(_data(gain, heads, width) for _ in range(3)))


def _data(gain: float, *shape: int) -> torch.Tensor:
    """Return a fixed pattern within (-1, 1) that does not cancel with that of the weights."""
    steps = torch.arange(SEQUENCE * BATCH * math.prod(shape))
    pattern = (steps * steps % 251 - 125).to(torch.float32) / 128 * gain
    made = pattern.to(torch.bfloat16).reshape(SEQUENCE, BATCH, *shape)
    return made.to("cuda").requires_grad_()


class AttentionRecorder:
    """Records what the attention of a model runs.

    ``backends`` holds names such as ``FusedAttention/FP8``: the module that
    DotProductAttention called and, if it was given, its ``fused_attention_backend``.
    ``passes_fp8`` tells whether the attention returned its output in FP8. Then the gradient of
    the output is in FP8 too, quantized by the next module (from 2.8 on; ``dpa_fp8_output`` in
    pytorch/attention/multi_head_attention.py).
    """

    def __init__(self) -> None:
        self.backends: Set[str] = set()
        self.passes_fp8 = False

    def before(self, module: Any, _args: Any, options: Dict[str, Any]) -> None:
        """Record a backend; a forward pre-hook."""
        kernel = options.get("fused_attention_backend")
        named = "" if kernel is None else "/" + _kernel_name(kernel)
        self.backends.add(type(module).__name__ + named)

    def after(self, _module: Any, _args: Any, output: Any) -> None:
        """Record the kind of the attention's output; a forward hook."""
        self.passes_fp8 |= type(output) is not torch.Tensor


@contextlib.contextmanager
def recording(built: Any) -> Iterator[AttentionRecorder]:
    """Record what the attention of a model runs during the context."""
    recorder = AttentionRecorder()
    hooks = []
    for path, module in built.named_modules():
        name = path.rpartition(".")[2]
        if name in _BACKENDS:
            hooks.append(module.register_forward_pre_hook(recorder.before, with_kwargs=True))
        elif name == ATTENTION:
            hooks.append(module.register_forward_hook(recorder.after))
    try:
        yield recorder
    finally:
        for hook in hooks:
            hook.remove()


def _kernel_name(kernel: Any) -> str:
    """Return the name of a backend in ``FusedAttnBackend``, from 2.20 on an enumeration."""
    module = "transformer_engine.pytorch.cpp_extensions.fused_attn"
    known = importlib.import_module(module).FusedAttnBackend
    names = getattr(known, "__members__", known)
    return next((name for name in names if known[name] == kernel), str(kernel))


def is_fp8(backend: str) -> bool:
    """Tell whether a backend is cuDNN's FP8 attention."""
    return backend == "FusedAttention/FP8"


def unused(attention: List[Site], recorder: AttentionRecorder) -> List[str]:
    """Return the names of slots that FP8 attention should have written and has not."""
    elsewhere = {"META_DO"} if recorder.passes_fp8 else set()
    return [
        "{}: {} of {}".format(site.name, name, direction)
        for site in attention
        for direction, names in _USED.items()
        for name in names
        if name not in elsewhere and not _written(site.tensors(), direction, _slot(name))
    ]


def _slot(name: str) -> int:
    for module in _MODULES:
        try:
            found = importlib.import_module("transformer_engine.pytorch." + module)
            return int(getattr(found, name))
        except (ImportError, AttributeError):
            continue
    raise ImportError("this release has no " + name)


def _written(tensors: Dict[str, torch.Tensor], direction: str, slot: int) -> bool:
    """Tell whether a slot has a finite scale other than 1 and an amax in its history."""
    scale = tensors[direction + ".scale"][slot]
    amaxes = tensors[direction + ".amax_history"][:, slot]
    return bool(torch.isfinite(scale) and scale != 1 and (amaxes > 0).any())
