"""How each module is built: a table of its class and arguments by the module's name.

Modules compute in bf16, with bias where they have one, and without dropout, which leaves no
trace in a checkpoint and which FP8 attention does not train with. What else a class offers is
left at the release's default.
"""

import importlib
from typing import Any, Callable, Dict

import torch

Arguments = Dict[str, Any]
GEMMS = 2
"""Number of matrices in ``GroupedLinear``."""
_WIDER = 4
"""Width of the hidden layer of ``LayerNormMLP``, in widths of its input."""


def fill(parameter: torch.Tensor, stride: int = 1, largest: float = 1.0) -> None:
    """Fill a tensor in place with a fixed pattern, exact in bf16, within (-1, 1) * ``largest``."""
    with torch.no_grad():
        steps = torch.arange(parameter.numel()) * stride
        pattern = (steps % 251 - 125).to(torch.float32) / 128 * largest
        parameter.copy_(pattern.to(torch.bfloat16).reshape(parameter.shape))


def initialise(parameter: torch.Tensor) -> None:
    """Fill a new parameter with a pattern that no parameter is saved with.

    So a load that leaves it as it was built shows: ``canary.fill_weights`` has odd strides. It is
    fixed, as casting random weights would leave their amaxes in the metadata of modules with FP8
    weights.
    """
    fill(parameter, stride=2)


def build(scenario: Dict[str, Any]) -> Any:
    """Construct one of the scenario's modules, without moving it to the device.

    :raises ImportError: the release has no such module.
    """
    name = scenario["module"]
    place, _, kind = name.rpartition(".")
    package = importlib.import_module(("transformer_engine.pytorch." + place).rstrip("."))
    if not hasattr(package, kind):
        raise ImportError("this release has no module {}".format(name))
    arguments = _ARGUMENTS[name](scenario)
    # Given without its name, which is another one in some commits between releases.
    width = [arguments.pop(_WIDTH)] if _WIDTH in arguments else []
    built = getattr(package, kind)(*width, **arguments)
    rename_attention(built, scenario["attention"])
    return built


def rename_attention(built: Any, name: str) -> None:
    """Give another name to the attention of a module, as a model of a user's own may have."""
    for module in built.modules():
        if name != _ATTENTION and _ATTENTION in module._modules:
            children = list(module._modules.items())
            module._modules.clear()
            # In the same place: keys are in the order of submodules.
            for old, child in children:
                module._modules[name if old == _ATTENTION else old] = child


_ATTENTION = "core_attention"
_WIDTH = "normalized_shape"


def _initialised(scenario: Arguments) -> Arguments:
    return {"params_dtype": torch.bfloat16, "init_method": initialise}


def _square(scenario: Arguments) -> Arguments:
    width = scenario["hidden_size"]
    return {"in_features": width, "out_features": width, "bias": True}


def _linear(scenario: Arguments) -> Arguments:
    return dict(_square(scenario), **_initialised(scenario))


def _grouped_linear(scenario: Arguments) -> Arguments:
    return dict(_linear(scenario), num_gemms=scenario.get("gemms", GEMMS))


def _operation(scenario: Arguments) -> Arguments:
    return dict(_square(scenario), dtype=torch.bfloat16, device="cuda")


def _norm(scenario: Arguments) -> Arguments:
    return {_WIDTH: scenario["hidden_size"], "params_dtype": torch.bfloat16}


def _mlp(scenario: Arguments) -> Arguments:
    width = scenario["hidden_size"]
    return dict(
        _initialised(scenario),
        hidden_size=width,
        ffn_hidden_size=_WIDER * width,
        bias=True,
        output_layer_init_method=initialise,
    )


def _dot_product_attention(scenario: Arguments) -> Arguments:
    heads = scenario["attention_heads"]
    width = scenario["hidden_size"] // heads
    return {"num_attention_heads": heads, "kv_channels": width, "attention_dropout": 0.0}


def _attention(scenario: Arguments) -> Arguments:
    """Return the arguments of the FAQ's example."""
    return {
        "hidden_size": scenario["hidden_size"],
        "num_attention_heads": scenario["attention_heads"],
        "bias": True,
        "params_dtype": torch.bfloat16,
        "input_layernorm": False,
        "fuse_qkv_params": True,
        "attention_type": "self",
        "attention_dropout": 0.0,
        "qkv_weight_interleaved": True,
        "init_method": initialise,
        "output_layer_init_method": initialise,
    }


def _layer(scenario: Arguments) -> Arguments:
    return dict(
        _mlp(scenario),
        num_attention_heads=scenario["attention_heads"],
        fuse_qkv_params=True,
        attention_dropout=0.0,
        hidden_dropout=0.0,
    )


_ARGUMENTS: Dict[str, Callable[[Arguments], Arguments]] = {
    "MultiheadAttention": _attention,
    "TransformerLayer": _layer,
    "DotProductAttention": _dot_product_attention,
    "Linear": _linear,
    "LayerNormLinear": _linear,
    "LayerNormMLP": _mlp,
    "GroupedLinear": _grouped_linear,
    "LayerNorm": _norm,
    "RMSNorm": _norm,
    "ops.Linear": _operation,
}
