"""Operations that are not emulated: :class:`EmulationGap`.

If a release needs one, the cpu lane cannot tell anything about the release. PyTorch catches
exceptions that are raised while a parameter is copied, and raises a ``RuntimeError`` with their
text instead (``torch/nn/modules/module.py``, ``_load_from_state_dict``). Gaps are therefore also
noted in a list.
"""

import itertools
from typing import Any, Dict, List

_met: List[str] = []
_numbers = itertools.count(1000)


class EmulationGap(RuntimeError):
    """An operation of the compiled extension was needed that is not emulated."""

    def __init__(self, operation: str) -> None:
        _met.append(operation)
        super().__init__(
            "the cpu lane does not emulate {}; only the gpu lane can answer here".format(operation)
        )


class ExtensionError(RuntimeError):
    """What the compiled extension itself raises here, by a check in its source."""


ExtensionError.__name__ = "RuntimeError"  # as it is reported


def met() -> List[str]:
    """Return the operations that were needed in this process and are not emulated."""
    return list(_met)


class Missing:
    """A name of the extension that can be looked up but not called.

    Its attributes, e.g. members of enumerations, are ``Missing`` too. Each is the same object
    every time, so that identity and equality work. ``__members__`` lists those looked up so far.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._number = -next(_numbers)
        self._members: Dict[str, "Missing"] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "__members__":
            return dict(self._members)
        if name.startswith("__"):
            raise AttributeError(name)
        child = Missing(self._name + "." + name)
        setattr(self, name, child)
        self._members[name] = child
        return child

    def __int__(self) -> int:
        """Return a unique number, for enumerations that are built from the extension's."""
        return self._number

    __index__ = __int__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise EmulationGap, because the operation is not emulated."""
        raise EmulationGap(self._name)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        """Raise EmulationGap: a checkpoint that held it would not be the release's."""
        raise EmulationGap("{} in a checkpoint".format(self._name))

    def __repr__(self) -> str:
        return "<not emulated: {}>".format(self._name)
