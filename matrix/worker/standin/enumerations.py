"""Enumerations of the extension that end up in checkpoints."""

from typing import Any, Dict, Tuple


class Enumeration:
    """Behaves as pybind11's ``enum_`` does: pickled by number, equal to its own kind alone."""

    __members__: Dict[str, Any] = {}

    def __init__(self, value: int = 0) -> None:
        self.value = int(value)

    def __getstate__(self) -> int:
        return self.value

    def __setstate__(self, value: int) -> None:
        self.value = int(value)

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def __hash__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __repr__(self) -> str:
        names = [name for name, member in self.__members__.items() if member == self]
        return "<{}.{}: {}>".format(type(self).__name__, (names or ["???"])[0], self.value)


def make(name: str, module: str, members: Dict[str, int]) -> Any:
    """Return an enumeration.

    :param module: name of the module under which its members are pickled.
    :param members: number of each member.
    """
    kind: Any = type(name, (Enumeration,), {"__module__": module, "__members__": {}})
    for member, number in members.items():
        kind.__members__[member] = kind(number)
        setattr(kind, member, kind.__members__[member])
    return kind


def has_block_formats(version: Tuple[int, int]) -> bool:
    """Tell whether the extension of a release has ``Float8BlockScaleTensorFormat``.

    :param version: (major, minor) of the release.
    """
    return version >= (2, 5)


BLOCK_FORMATS = {"GEMM_READY": 0, "COMPACT": 1}
"""Members of ``Float8BlockScaleTensorFormat``, which tensors of FP8 block scaling hold in 2.5 to
2.11 (transformer_engine.h, common/util/pybind_helper.h)."""
