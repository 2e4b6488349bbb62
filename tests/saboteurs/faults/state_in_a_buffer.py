"""The attention saves its state in a buffer, not in a byte tensor."""

import io

from .planted_tools import Attention, around, packed, unpacked


@around(Attention, "get_extra_state")
def get_extra_state(original, self):
    return packed(unpacked(original(self)), like=io.BytesIO())
