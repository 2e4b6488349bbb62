"""The line between emulated and not: :class:`EmulationGap`.

A stand-in that met an operation it does not emulate says nothing about the
release under test. PyTorch catches exceptions raised while a parameter is
copied and re-raises them as text inside a ``RuntimeError`` of its own
(``torch/nn/modules/module.py``, ``_load_from_state_dict``), so a gap is also
noted here, out of band, where no ``except`` can swallow it.
"""

import itertools
from typing import Any, Dict, List

_met: List[str] = []
_numbers = itertools.count(1000)


class EmulationGap(RuntimeError):
    """An operation of the compiled extension that the stand-in does not emulate."""

    def __init__(self, operation: str) -> None:
        _met.append(operation)
        super().__init__(
            "the cpu lane does not emulate {}; only the gpu lane can answer here".format(operation)
        )


def met() -> List[str]:
    """Return the operations asked for and not emulated so far in this process."""
    return list(_met)


class Missing:
    """A name of the extension that may be looked at, but not called.

    Attributes of it (members of enumerations, say) are again ``Missing`` and
    are the same object every time, so identity and equality hold, and
    ``__members__`` lists those that were looked at.
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
        """A number of its own, for enumerations built from the extension's."""
        return self._number

    __index__ = __int__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse.

        :raises EmulationGap: always.
        """
        raise EmulationGap(self._name)

    def __repr__(self) -> str:
        return "<not emulated: {}>".format(self._name)
