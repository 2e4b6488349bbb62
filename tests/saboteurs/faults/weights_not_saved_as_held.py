"""Weights pass through FP8 on their way into the checkpoint."""

import torch

from .planted_tools import Module, around


@around(Module, "state_dict")
def state_dict(original, self, *args, **kwargs):
    found = original(self, *args, **kwargs)
    for key in ("qkv.weight", "proj.weight"):
        found[key] = found[key].to(torch.float8_e4m3fn).to(found[key].dtype)
    return found
