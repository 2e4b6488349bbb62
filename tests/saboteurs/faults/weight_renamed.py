"""The output projection keeps its weight under another name."""

from .planted_tools import Module, around


@around(Module, "__init__")
def init(original, self, *args, **kwargs):
    original(self, *args, **kwargs)
    weight = self.proj._parameters.pop("weight")
    self.proj.register_parameter("kernel", weight)
    self.proj.__dict__["weight"] = weight  # which the module itself goes on reading
