"""Enumerations that behave as those of the compiled extension, which are pybind11's ``enum_``."""

import operator
from typing import Any, Dict, Type

EQUAL_TO_MEMBERS, EQUAL_TO_NUMBERS, CAST_TO_NUMBERS = "members", "numbers", "cast"
"""What a member can be equal to: members of its enumeration; also plain numbers; or whatever
can be cast to a number, where all else raises."""

BY_STATE, BY_NUMBER = "state", "number"
"""How a member is pickled: made empty and given its state, or made from its number."""


class Enumeration:
    """A member of an enumeration. The subclasses are made by :func:`make`."""

    __slots__ = ("_number",)
    __members__: Dict[str, "Enumeration"] = {}

    def __init__(self, value: Any) -> None:
        self._number = operator.index(value)

    def __getstate__(self) -> int:
        return self._number

    def __setstate__(self, value: int) -> None:
        self._number = value

    @property
    def value(self) -> int:
        """The number."""
        return self._number

    @property
    def name(self) -> str:
        """The name, ``???`` for a number without one."""
        names = [name for name, member in self.__members__.items() if int(member) == self._number]
        return names[0] if names else "???"

    def __int__(self) -> int:
        return self._number

    __index__ = __int__

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and other._number == self._number

    def __repr__(self) -> str:
        return "<{}: {}>".format(self, self._number)

    def __str__(self) -> str:
        return "{}.{}".format(type(self).__name__, self.name)


def _equals_numbers(self: Enumeration, other: object) -> bool:
    return isinstance(other, (type(self), int)) and int(other) == self._number


def _equals_cast(self: Enumeration, other: Any) -> bool:
    try:
        return operator.index(other) == self._number
    except TypeError:
        message = "Unable to cast Python instance of type {} to C++ type 'int'"
        raise RuntimeError(message.format(type(other))) from None


def _reduce(self: Enumeration, protocol: Any = None) -> Any:
    return type(self), (self._number,)


_EQUALITY: Dict[str, Dict[str, Any]] = {
    EQUAL_TO_MEMBERS: {},
    EQUAL_TO_NUMBERS: {"__eq__": _equals_numbers, "__hash__": Enumeration.__hash__},
    CAST_TO_NUMBERS: {"__eq__": _equals_cast, "__hash__": Enumeration.__hash__},
}
_PICKLE: Dict[str, Dict[str, Any]] = {
    BY_STATE: {},
    BY_NUMBER: {"__reduce_ex__": _reduce, "__reduce__": _reduce},
}


def make(module: str, name: str, members: Dict[str, int], equality: str, pickle: str) -> Type[Any]:
    """Return an enumeration.

    :param module: name of the extension, by which its members are pickled.
    :param members: the numbers of the members by name.
    :param equality: one of ``members``, ``numbers``, ``cast``.
    :param pickle: ``state`` or ``number``.
    """
    body = {"__slots__": (), "__module__": module, **_EQUALITY[equality], **_PICKLE[pickle]}
    kind = type(name, (Enumeration,), body)
    made = {label: kind(number) for label, number in members.items()}
    kind.__members__ = made  # type: ignore[attr-defined]
    for label, member in made.items():
        setattr(kind, label, member)
    return kind
