"""Real FP8 training steps, on a GPU: what the metadata holds afterwards, kernels wrote."""

import contextlib
import importlib
import math
from typing import Any, Dict, Iterator, List, Set

import torch

from matrix.worker import model
from matrix.worker.model import Site

STEPS = 3
FURTHER_STEPS = 2
LOUDER = 2.0**6
"""What the input of further steps is multiplied by, and its fourth power the loss.

A scale follows the largest amax in the history, first steps included, whose amaxes are wild
while the scales still are 1: only an amax beyond all of them moves it.
"""

WEIGHTS = 2.0**-6
"""Magnitude of the largest weight: activations and gradients neither vanish nor overflow."""

SEQUENCE = 256  # FP8 attention of the older releases wants multiples of 128
BATCH = 2

# What attention kernels quantize, by the release's own names for the slots:
# ``META_*`` in pytorch/cpp_extensions/fused_attn.py, up to 1.10 in pytorch/attention.py.
_USED = {
    "forward": ("META_QKV", "META_S", "META_O"),
    "backward": ("META_DO", "META_DP", "META_DQKV"),
}
_MODULES = ("cpp_extensions.fused_attn", "attention")
# Children of every release's DotProductAttention, one of which it calls.
_BACKENDS = ("flash_attention", "fused_attention", "unfused_attention")


def train(
    built: Any, scenario: Dict[str, Any], recipe: Dict[str, Any], steps: int, louder: float = 1.0
) -> None:
    """Run forward and backward passes under FP8 autocast, the same data every time.

    :param recipe: further fields of the recipe.
    :param louder: what the data is multiplied by; the loss, by its fourth power.
    """
    chosen = model.recipe(recipe)
    for _step in range(steps):
        with model.autocast(chosen):
            outs = _forward(built, scenario, louder)
        (louder**4 * sum(out.float().square().sum() for out in outs)).backward()
        if scenario["state"] == "attention":
            # Only linears call for it at the end of a backward pass.
            model.finish_backward()
    torch.cuda.synchronize()


def output(built: Any, scenario: Dict[str, Any], recipe: Dict[str, Any]) -> torch.Tensor:
    """Return the module's output on the data that it was trained with, metadata as it is.

    Without gradients TE updates no scale and rolls no history.

    :returns: bf16, on the CPU: layers, sequence, batch, hidden size.
    """
    with torch.no_grad(), model.autocast(model.recipe(recipe)):
        outs = _forward(built, scenario, 1.0)
    return torch.stack([out.detach().reshape(SEQUENCE, BATCH, -1).cpu() for out in outs])


def _forward(built: Any, scenario: Dict[str, Any], louder: float) -> List[torch.Tensor]:
    layers = built if isinstance(built, torch.nn.ModuleList) else [built]
    step = _attend if scenario["state"] == "attention" else _whole
    return [step(layer, scenario, louder) for layer in layers]


def _whole(layer: Any, scenario: Dict[str, Any], louder: float) -> torch.Tensor:
    out = layer(_data(louder, scenario["hidden_size"]))
    return out[0] if isinstance(out, tuple) else out


def _attend(layer: Any, scenario: Dict[str, Any], louder: float) -> torch.Tensor:
    """Run the attention alone, so that the linears never see FP8."""
    heads = scenario["attention_heads"]
    width = scenario["hidden_size"] // heads
    return layer.core_attention(*(_data(louder, heads, width) for _ in range(3)))


def _data(louder: float, *shape: int) -> torch.Tensor:
    """Return a fixed pattern within (-1, 1), which no sum with that of the weights cancels."""
    steps = torch.arange(SEQUENCE * BATCH * math.prod(shape))
    pattern = (steps * steps % 251 - 125).to(torch.float32) / 128 * louder
    made = pattern.to(torch.bfloat16).reshape(SEQUENCE, BATCH, *shape)
    return made.to("cuda").requires_grad_()


class Watch:
    """What attention did meanwhile.

    ``backends`` names what ran, e.g. ``FusedAttention/FP8``: the module that
    DotProductAttention called and, where it was called with one, its
    ``fused_attention_backend``. ``passes_fp8`` says whether the attention handed its output
    on in FP8: then its output's gradient comes back in FP8, quantized by the next module
    (from 2.8 on; ``dpa_fp8_output`` in pytorch/attention/multi_head_attention.py).
    """

    def __init__(self) -> None:
        self.backends: Set[str] = set()
        self.passes_fp8 = False

    def before(self, module: Any, _args: Any, options: Dict[str, Any]) -> None:
        """Note a backend, as a hook."""
        kernel = options.get("fused_attention_backend")
        named = "" if kernel is None else "/" + _kernel_name(kernel)
        self.backends.add(type(module).__name__ + named)

    def after(self, _module: Any, _args: Any, output: Any) -> None:
        """Note the output of the attention, as a hook."""
        self.passes_fp8 |= type(output) is not torch.Tensor


@contextlib.contextmanager
def watching(built: Any) -> Iterator[Watch]:
    """Watch a model's attention."""
    watch = Watch()
    hooks = []
    for path, module in built.named_modules():
        name = path.rpartition(".")[2]
        if name in _BACKENDS:
            hooks.append(module.register_forward_pre_hook(watch.before, with_kwargs=True))
        elif name == model.ATTENTION:
            hooks.append(module.register_forward_hook(watch.after))
    try:
        yield watch
    finally:
        for hook in hooks:
            hook.remove()


def _kernel_name(kernel: Any) -> str:
    """Return what ``FusedAttnBackend`` calls a backend: a dict, from 2.20 on an enumeration."""
    place = "transformer_engine.pytorch.cpp_extensions.fused_attn"
    known = importlib.import_module(place).FusedAttnBackend
    names = getattr(known, "__members__", known)
    return next((name for name in names if known[name] == kernel), str(kernel))


def is_fp8(backend: str) -> bool:
    """Tell whether a backend is cuDNN's FP8 attention."""
    return backend == "FusedAttention/FP8"


def unused(attention: List[Site], watch: Watch) -> List[str]:
    """Name the slots that FP8 attention would have written, and that nothing has."""
    elsewhere = {"META_DO"} if watch.passes_fp8 else set()
    return [
        "{}: {} of {}".format(site.path, name, direction)
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
    """Tell whether a slot has a finite scale other than 1, and an amax in its history."""
    scale = tensors[direction + ".scale"][slot]
    amaxes = tensors[direction + ".amax_history"][:, slot]
    return bool(torch.isfinite(scale) and scale != 1 and (amaxes > 0).any())
