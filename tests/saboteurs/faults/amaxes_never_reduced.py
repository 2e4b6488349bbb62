"""No step after a load moves the backward metadata."""

from .planted_tools import around, global_state


@around(global_state, "reduce_and_update_fp8_tensors")
def reduce_and_update_fp8_tensors(original, forward=True, **kwargs):
    if forward:
        original(forward=forward, **kwargs)
