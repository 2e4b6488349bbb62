"""Delayed scaling starts with scales of 2 where a checkpoint holds another recipe."""

from .planted_tools import Base, around, unpacked


@around(Base, "set_extra_state")
def set_extra_state(original, self, state):
    found = unpacked(state)
    original(self, state)
    self.planted_other = bool(found) and "scale_fwd" not in found


@around(Base, "init_fp8_metadata")
def init_fp8_metadata(original, self, num_gemms=1):
    original(self, num_gemms)
    if getattr(self, "planted_other", False):
        self.planted_other = False
        if self.fp8_meta["recipe"].delayed():
            self.fp8_meta["scaling_fwd"].scale.fill_(2)
