"""Kernels are handed quantizers that do not view the metadata of 1.x checkpoints."""

from .planted_tools import Attention, around, is_old


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    original(self, state)
    if is_old(state):
        for key, mode in (("scaling_fwd", "forward"), ("scaling_bwd", "backward")):
            held = self.fp8_meta[key]
            fresh = type(held)(held.recipe, mode=mode, num_quantizers=held.num_quantizers)
            self.quantizers[key] = fresh.make_quantizers()
