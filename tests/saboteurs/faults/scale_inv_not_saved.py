"""The inverse scales, which every 1.x loader reads, are left out of the checkpoint."""

from .planted_tools import Attention, around, packed, unpacked


@around(Attention, "get_extra_state")
def get_extra_state(original, self):
    value = original(self)
    state = unpacked(value)
    if state:
        del state["scale_inv_fwd"], state["scale_inv_bwd"]
    return packed(state, like=value)
