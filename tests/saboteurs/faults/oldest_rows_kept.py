"""A history that is made shorter keeps its oldest rows."""

from .planted_tools import Base, around


@around(Base, "adjust_amax_history_length")
def adjust_amax_history_length(original, self, length, fwd=None):
    before = {key: self.fp8_meta[key].amax_history for key in ("scaling_fwd", "scaling_bwd")}
    original(self, length, fwd)
    for key, history in before.items():
        if length < len(history) and self.fp8_meta[key].amax_history is not history:
            self.fp8_meta[key].amax_history.copy_(history[-length:])
