"""An operation saves its forward metadata alone."""

from transformer_engine.pytorch.ops.op import BasicOperation

from .planted_tools import around, packed, unpacked


@around(BasicOperation, "get_extra_state")
def get_extra_state(original, self):
    value = original(self)
    state = unpacked(value)
    if state:
        state.pop("backward", None)
    return packed(state, like=value)
