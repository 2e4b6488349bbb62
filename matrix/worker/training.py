"""Real FP8 training steps, on a GPU: what the metadata holds afterwards, kernels wrote."""

import importlib
from typing import Any, Dict, List

import torch

from worker import model
from worker.model import Site

STEPS = 3
SEQUENCE = 256  # FP8 attention of the older releases wants multiples of 128
BATCH = 2

# What attention kernels quantize, by the release's own names for the slots:
# ``META_*`` in pytorch/cpp_extensions/fused_attn.py, up to 1.10 in pytorch/attention.py.
_USED = {
    "forward": ("META_QKV", "META_S", "META_O"),
    "backward": ("META_DO", "META_DP", "META_DQKV"),
}
_MODULES = ("cpp_extensions.fused_attn", "attention")


def train(built: Any, scenario: Dict[str, Any]) -> None:
    """Run forward and backward passes under FP8 autocast, the same data every time."""
    chosen = model.recipe(scenario["save_recipe"])
    layers = built if isinstance(built, torch.nn.ModuleList) else [built]
    step = _attend if scenario["state"] == "attention" else _whole
    for _step in range(STEPS):
        with model.autocast(chosen):
            outs = [step(layer, scenario) for layer in layers]
        sum(out.float().square().sum() for out in outs).backward()
    torch.cuda.synchronize()


def _whole(layer: Any, scenario: Dict[str, Any]) -> torch.Tensor:
    out = layer(_data(scenario["hidden_size"]))
    return out[0] if isinstance(out, tuple) else out


def _attend(layer: Any, scenario: Dict[str, Any]) -> torch.Tensor:
    """Run the attention alone, so that the linears never see FP8."""
    heads = scenario["attention_heads"]
    width = scenario["hidden_size"] // heads
    return layer.core_attention(*(_data(heads, width) for _ in range(3)))


def _data(*shape: int) -> torch.Tensor:
    made = torch.empty(SEQUENCE, BATCH, *shape, dtype=torch.bfloat16, device="cuda")
    model.fill(made, 3)
    return made.requires_grad_()


def unused(attention: List[Site]) -> List[str]:
    """Name the slots that FP8 attention would have written, and that nothing has.

    None is missing only where FP8 attention kernels ran: no other backend quantizes the
    softmax (``META_S``) or its gradient (``META_DP``).
    """
    return [
        "{}: {} of {}".format(site.path, name, direction)
        for site in attention
        for direction, names in _USED.items()
        for name in names
        if not _written(site.tensors(), direction, _slot(name))
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
