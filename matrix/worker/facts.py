"""What saves and loads report of a module's metadata."""

from typing import Any, Dict

import torch

from matrix.worker import canary, digest
from matrix.worker.model import Site


def of_site(site: Site) -> Dict[str, Any]:
    """Describe a site and its tensors, as the kernels receive them."""
    tensors = site.in_use().items()
    return {
        "path": site.path,
        "name": site.name,
        "attention": site.attention,
        "tensors": {name: of_tensor(name, tensor) for name, tensor in tensors},
    }


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
