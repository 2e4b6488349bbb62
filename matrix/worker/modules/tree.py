"""A model made of single modules of Transformer Engine at given places.

It stands for a user's model of which only the places of its extra states are known: what
strict loading says of their keys, and what the hooks of releases do, depends on these alone.
"""

import importlib
from typing import Any, Dict, List

import torch

from matrix.worker.modules import building

Place = Dict[str, Any]

# Operations that ``ops.Linear`` consists of. Each has an extra state of its own.
_OPERATIONS = {
    "ops.BasicLinear": {"in_features": 64, "out_features": 64},
    "ops.Bias": {"size": 64},
}


def build(places: List[Place], scenario: Dict[str, Any]) -> Any:
    """Return a model with one module at each place, all other modules being plain containers.

    :param places: ``path`` in the model, empty for the model itself; ``module``, as in
        ``building``, ``ops.BasicLinear`` or ``ops.Bias``; and ``gemms``, the number of matrices of
        a ``GroupedLinear``.
    :param scenario: the sizes of the modules.
    """
    root: Any = torch.nn.Module()
    # A module above others is built before these are put into it.
    for place in sorted(places, key=lambda place: place["path"].count(".")):
        built = _build(place, scenario).to(dtype=torch.bfloat16, device="cuda")
        if not place["path"]:
            root = built
            continue
        *above, name = place["path"].split(".")
        # ``add_module`` refuses names that an attribute has, such as ``module.training``.
        _container(root, above)._modules[name] = built
    return root


def _container(root: Any, path: List[str]) -> Any:
    for name in path:
        if root._modules.get(name) is None:
            root._modules[name] = torch.nn.Module()
        root = root._modules[name]
    return root


def _build(place: Place, scenario: Dict[str, Any]) -> Any:
    name = place["module"]
    if name in _OPERATIONS:
        ops = importlib.import_module("transformer_engine.pytorch.ops")
        kind = getattr(ops, name.rpartition(".")[2])
        return kind(dtype=torch.bfloat16, device="cuda", **_OPERATIONS[name])
    wanted = dict(scenario, module=name, gemms=place["gemms"] or building.GEMMS)
    return building.build(wanted)
