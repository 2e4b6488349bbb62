"""First-use preparations of PyTorch and of the worker, made once for all releases.

Otherwise each fork would repeat them. Transformer Engine is not used here: a plain module is
saved and loaded in the same way.
"""

import contextlib
import io
import json
import pickle
from typing import Any, Dict

import torch

from matrix.worker import digest, facts


class _Recipe:
    """Represents what an extra state holds in addition to its tensors."""

    def __init__(self) -> None:
        self.margin = 0
        self.choices = ("most_recent", 1.0, None, True)


def warm_up() -> None:
    """Save, read, describe and load a plain module in every way that is used later."""
    torch.set_num_threads(1)
    layer = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)).bfloat16()
    layer.register_load_state_dict_post_hook(lambda module, keys: None)
    history = torch.zeros(4, 2)
    state = dict(layer.state_dict(), **_extra_states(history))
    for weights_only in (True, False):
        stream = io.BytesIO()
        torch.save(state, stream)
        stream.seek(0)
        with contextlib.suppress(pickle.UnpicklingError):
            torch.load(stream, weights_only=weights_only)
    digest.of_entries(state)
    digest.of_recipe(_Recipe())
    for name in ("forward.scale", "forward.amax_history"):
        json.dumps(facts.of_tensor(name, history))
    layer.load_state_dict(layer.state_dict())
    torch.equal(torch.roll(history, -1, 0), history)
    torch.isfinite(history).all(dim=0).any()


def _extra_states(history: torch.Tensor) -> Dict[str, Any]:
    """Return an extra state of each kind that releases save, after reading each once."""
    inside = {"margin": 0, "amax_history_fwd": history}
    stream = io.BytesIO()
    torch.save(inside, stream)
    packed = torch.frombuffer(bytearray(pickle.dumps(inside)), dtype=torch.uint8)
    for extra in (stream, packed):
        digest.decode(extra)
    return {"stream." + digest.EXTRA_STATE: stream, "packed." + digest.EXTRA_STATE: packed}
