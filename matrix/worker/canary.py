"""Canaries: metadata values that are never a default and differ from slot to slot.

Each value is the float32 after a round number, which no type of lower precision can hold.
"""

from typing import Any, List

import torch

from matrix.worker.modules.building import fill
from matrix.worker.modules.sites import Site

_PERIOD = 97  # prime, so that a history rolled by a few rows differs


def fill_weights(model: Any, largest: float = 1.0) -> None:
    """Fill every parameter with a fixed pattern of its own, of odd stride.

    :param largest: upper bound of the magnitudes.
    """
    for number, parameter in enumerate(model.parameters()):
        fill(parameter, 2 * number + 1, largest)


def stamp(stateful: List[Site]) -> None:
    """Write canaries into every slot of every site."""
    place = 0
    with torch.no_grad():
        for site in stateful:
            for name, tensor in site.tensors().items():
                if name.endswith(".amax_history"):
                    tensor.copy_(_amaxes(tensor, place))
                    place += tensor.shape[-1]
                elif name.endswith(".scale"):
                    tensor.copy_(_scales(tensor, place))
            _invert_scales(site)


def _scales(like: torch.Tensor, place: int) -> torch.Tensor:
    return _beyond(2.0 + 0.25 * (place + torch.arange(like.numel(), dtype=torch.float32)))


def _amaxes(like: torch.Tensor, place: int) -> torch.Tensor:
    slots = 0.5 + 0.0625 * (place + torch.arange(like.shape[-1], dtype=torch.float32))
    rows = 1.0 + (torch.arange(like.shape[0]) % _PERIOD).to(torch.float32) / 128
    return _beyond(rows[:, None] * slots[None, :])


def _beyond(tensor: torch.Tensor) -> torch.Tensor:
    """Return the next larger float32 of each value."""
    return torch.nextafter(tensor, torch.tensor(float("inf")))


def _invert_scales(site: Site) -> None:
    tensors = site.tensors()
    for name, tensor in tensors.items():
        if name.endswith(".scale_inv"):
            tensor.copy_(1.0 / tensors[name[: -len("_inv")]])


def _default(name: str) -> float:
    return 0.0 if name.endswith("amax_history") else 1.0


def is_default(name: str, tensor: torch.Tensor) -> bool:
    """Tell whether a metadata tensor holds defaults only: scales 1, amaxes 0.

    :param name: name of the tensor, e.g. ``forward.scale``.
    """
    return bool((tensor.detach() == _default(name)).all())


def holds_defaults_somewhere(name: str, tensor: torch.Tensor) -> bool:
    """Tell whether any slot of a tensor holds a default or a value that is not finite.

    :param name: name of the tensor, e.g. ``forward.scale``.
    """
    slots = tensor.detach().reshape(-1, tensor.shape[-1])
    return bool((slots == _default(name)).all(dim=0).any() or not torch.isfinite(slots).all())
