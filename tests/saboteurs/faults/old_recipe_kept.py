"""A checkpoint's recipe stays in use, whatever the run asks for."""

from .planted_tools import Base, around


@around(Base, "set_extra_state")
def set_extra_state(original, self, state):
    original(self, state)
    self.planted_kept = self.fp8_meta.get("recipe")


@around(Base, "init_fp8_meta_tensors")
def init_fp8_meta_tensors(original, self, recipe):
    original(self, getattr(self, "planted_kept", None) or recipe)
