"""The model of a scenario, and the steps that TE takes around its forward and backward pass."""

from typing import Any, Dict, List, Optional

import torch

from matrix.worker.modules import building, global_state, recipes, tree
from matrix.worker.modules.operations import OperationSite, is_operation
from matrix.worker.modules.sites import Site


def build(scenario: Dict[str, Any], recipe: Optional[Dict[str, Any]]) -> Any:
    """Construct the scenario's model: one module, a list of them, or a tree.

    :param recipe: ``class`` and fields of the recipe that quantizes the weights; None where the
        release lacks it: then they are in high precision.
    """
    if "tree" in scenario:
        return tree.build(scenario["tree"], scenario)
    layers = []
    for _ in range(scenario["layers"]):
        with recipes.quantized_weights(recipe if scenario["weights"] == "fp8" else None):
            layer = building.build(scenario)
        layers.append(layer.to(dtype=torch.bfloat16, device="cuda"))
    return layers[0] if len(layers) == 1 else torch.nn.ModuleList(layers)


def sites(model: Any) -> List[Site]:
    """Return the TE modules of a model that can hold FP8 metadata, in forward order."""
    found: List[Site] = []
    attention: Optional[str] = None
    for path, module in model.named_modules():
        if _class(module) == "DotProductAttention":
            attention = path
        attends = attention is not None and _is_within(path, attention)
        name = (attention if attends else path) or _class(model)
        if any(site.name == name for site in found):
            name = path
        if is_operation(module):
            found.append(OperationSite(path, name, module, False))
        elif hasattr(module, "fp8_meta") and hasattr(module, "prepare_forward"):
            found.append(Site(path, name, module, attends))
    return found


def _class(module: Any) -> str:
    return type(module).__name__


def _is_within(path: str, root: str) -> bool:
    return not root or path == root or path.startswith(root + ".")


# By the scenario's state: whether attention, and whether the others take FP8 steps.
_STEPPING = {"all": (True, False), "attention": (True,), "linears": (False,), "none": ()}


def stepping(model: Any, scenario: Dict[str, Any]) -> List[Site]:
    """Return the sites of a model that take FP8 steps in the scenario."""
    wanted = _STEPPING[scenario["state"]]
    return [site for site in sites(model) if site.attention in wanted]


def weights(model: Any) -> Dict[str, torch.Tensor]:
    """Return every parameter and persistent buffer of a model, by its key in the state dict.

    The state dict itself is not asked: it may raise, or lack one of them. A parameter that two
    modules share is there twice: ``ops.Linear`` has those of its operations from 2.7 on.
    """
    found: Dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    for path, module in model.named_modules():
        unsaved = module._non_persistent_buffers_set
        for name, tensor in module.named_buffers(path, recurse=False):
            if name.rpartition(".")[2] not in unsaved:
                found[name] = tensor
    return found


def finish_backward() -> Optional[str]:
    """Run TE's reduction of the backward amaxes, as at the end of a backward pass.

    :returns: None, or why it could not be run. Up to 1.5 each module updates its own metadata
        and there is nothing to call.
    """
    reduce = getattr(global_state.find(), "reduce_and_update_fp8_tensors", None)
    if reduce is None:
        return "FP8GlobalStateManager.reduce_and_update_fp8_tensors does not exist"
    reduce(forward=False)
    return None
