"""What is reported of a module's metadata, the same for a save and for a load."""

from typing import Any, Dict

import torch

from matrix.worker import canary, digest
from matrix.worker.model import Site


def of_site(site: Site) -> Dict[str, Any]:
    """Return a site's place and the facts of each of its tensors, as kernels are handed them."""
    tensors = site.in_use().items()
    return {
        "path": site.path,
        "name": site.name,
        "attention": site.attention,
        "tensors": {name: of_tensor(name, tensor) for name, tensor in tensors},
    }


def of_tensor(name: str, tensor: torch.Tensor) -> Dict[str, Any]:
    """Return dtype, shape, digest, the first row (at most 16 values), and whether all default.

    :param name: ``forward.scale`` and the like; it decides what the default is.
    """
    first = tensor.detach().reshape(-1, tensor.shape[-1])[0][:16].tolist()
    return {
        "dtype": str(tensor.dtype).replace("torch.", ""),
        "shape": list(tensor.shape),
        "digest": digest.of_tensor(tensor),
        "first": [float(value) for value in first],
        "default": canary.is_default(name, tensor),
    }
