"""What saves and loads report of a module's metadata."""

from typing import Any, Dict

import torch

from matrix.worker import canary, digest
from matrix.worker.modules.sites import Payload, Site


def of_site(site: Site, payload: Payload = None) -> Dict[str, Any]:
    """Describe a site and its tensors, as the kernels receive them.

    :param payload: what the loaded checkpoint holds for the site, for ``resized``.
    """
    tensors = {name: of_tensor(name, tensor) for name, tensor in site.in_use().items()}
    for name, tensor in site.tensors().items():
        saved = site.saved(payload, name)
        if isinstance(saved, torch.Tensor) and is_resized(tensor, saved):
            tensors[name]["resized"] = True
    return {
        "path": site.path,
        "name": site.name,
        "attention": site.attention,
        "tensors": tensors,
    }


def is_resized(tensor: torch.Tensor, saved: torch.Tensor) -> bool:
    """Tell whether an amax history is the saved one with rows cut off, or zeros added."""
    if tensor.dim() != 2 or tensor.shape[1:] != saved.shape[1:] or len(tensor) == len(saved):
        return False
    common = min(len(tensor), len(saved))
    same = torch.equal(tensor[:common].detach().cpu(), saved[:common].detach().cpu())
    return same and not bool(tensor[common:].any())


def of_tensor(name: str, tensor: torch.Tensor) -> Dict[str, Any]:
    """Describe a metadata tensor.

    :param name: name of the tensor, e.g. ``forward.scale``; the default depends on it.
    :returns: ``dtype``, ``shape``, ``digest``, ``first`` (up to 16 values of the first row) and
        ``default`` (whether it holds defaults only).
    """
    first = tensor.detach().reshape(-1, tensor.shape[-1])[0][:16].tolist()
    return {
        "dtype": str(tensor.dtype).replace("torch.", ""),
        "shape": list(tensor.shape),
        "digest": digest.of_tensor(tensor),
        "first": [float(value) for value in first],
        "default": canary.is_default(name, tensor),
    }
