"""The first FP8 step initialises anew what a 1.x checkpoint brought."""

from .planted_tools import Attention, around, is_old


@around(Attention, "set_extra_state")
def set_extra_state(original, self, state):
    original(self, state)
    self.planted_fresh = is_old(state)


@around(Attention, "init_fp8_metadata")
def init_fp8_metadata(original, self, num_gemms=1):
    original(self, num_gemms)
    if getattr(self, "planted_fresh", False):
        self.planted_fresh = False
        self.reset_fp8_meta_tensors()
