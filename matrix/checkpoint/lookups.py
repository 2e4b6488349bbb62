"""What pickles look up and call, noted as their opcodes are read.

Unpickling imports what it looks up, and calls what it is told to, whatever becomes of the
value. So nothing is derived from the resulting tree, which holds only what was kept.
"""

from __future__ import annotations

import enum

from matrix.catalogue import pickled_names
from matrix.catalogue.pickled_names import PickledNames, Rule
from matrix.checkpoint import objects
from matrix.checkpoint.nodes import Call, Global, Guarded, Node, Persistent

_ANY = object()  # arguments that are not known


class Lookups:
    """The names that pickles looked up: Transformer Engine's, and those not in the table."""

    def __init__(self) -> None:
        self._known = pickled_names.load()
        self.te: set[str] = set()
        """Transformer Engine's classes and functions."""
        self.unknown: set[str] = set()
        """Names that are not in the table, or are not called as it says.

        A name ends in ``()`` where unpickling would call it.
        """
        self.strange_ids = 0
        """Number of persistent ids that are not those of storages."""

    def look_up(self, module: str, name: str) -> Global:
        """Note a name that is looked up, and return it."""
        full = f"{module}.{name}"
        # A dotted name reaches through what the module imports, os for one.
        if "." not in name and full in self._known.guarded:
            return Guarded(module, name)
        if "." not in name and full in self._known.te:
            self.te.add(full)
        elif ("." in name or not _listed(full, self._known)) and f"{full}()" not in self.unknown:
            self.unknown.add(full)
        return Global(module, name)

    def call(self, function: Node, arguments: Node) -> None:
        """Note a call. Values that cannot be called are no concern: unpickling ends there."""
        if isinstance(function, Guarded):
            function.excused += _excused(self._known, function, arguments)
        elif isinstance(function, Global):
            self._call_name(str(function), function, arguments)
        elif isinstance(function, Call):
            if not _te_method_called(self._known, function, arguments):
                self.unknown.add(f"{_name(function.function)}()()")
        elif isinstance(function, Persistent):
            self.unknown.add("persistent id()")

    def _call_name(self, full: str, function: Global, arguments: Node) -> None:
        known = self._known
        fine = full not in self.unknown and (full in known.call or full in known.enums)
        if full in known.te:
            counts = known.te[full] or ()
            fine = full not in self.unknown and (arguments is _ANY or _count(arguments) in counts)
        if not fine:
            self.unknown.discard(full)
            self.unknown.add(f"{full}()")
        if full in known.callers and isinstance(arguments, tuple):
            self._call_argument(*known.callers[full], arguments)

    def _call_argument(self, function: int, given: int, arguments: tuple[Node, ...]) -> None:
        # A guarded function is harmless only when the pickle calls it itself.
        if function < len(arguments) and not isinstance(arguments[function], Guarded):
            passed = arguments[given] if 0 <= given < len(arguments) else _ANY
            self.call(arguments[function], passed)

    def close(self, guarded: Guarded) -> None:
        """Note a guarded function, when its pickle ends, unless every use of it was excused."""
        if guarded.pushed != guarded.excused:
            self.unknown.add(f"{guarded}()")

    def persistent(self, id_: Node) -> None:
        """Note a persistent id; those of PyTorch's storages are ``("storage", type, ...)``."""
        if not isinstance(id_, tuple) or len(id_) not in (5, 6) or id_[0] != "storage":
            self.strange_ids += 1


def _listed(full: str, known: PickledNames) -> bool:
    return full in known.call or full in known.refer or full in known.enums


def _name(function: Node) -> str:
    return str(function) if isinstance(function, Global) else "the result of a call"


def _count(arguments: Node) -> int:
    return len(arguments) if isinstance(arguments, tuple) else -1


def _excused(known: PickledNames, function: Guarded, arguments: Node) -> bool:
    rule: Rule = known.guarded[str(function)]
    match rule, arguments:
        case "attribute", (Global() as owner, str() as attribute):
            te = (str(owner), attribute) in known.te_methods
            enums = known.enums | known.te_enums
            return te or (str(owner) in enums and _member(attribute))
        case "file", (held,):
            return objects.bytes_of(held) is not None
        case "latin1", (str(), "latin1"):
            return True
    return False


def _member(attribute: str) -> bool:
    """Return whether an attribute of an enumeration can only be one of its members."""
    usual = (enum.IntEnum, enum.StrEnum, enum.EnumMeta)
    return attribute.isidentifier() and not any(hasattr(kind, attribute) for kind in usual)


def _te_method_called(known: PickledNames, function: Call, arguments: Node) -> bool:
    """Return whether the result of ``getattr`` is a method of TE's, called as TE calls it."""
    match function.arguments:
        case (Global() as owner, str() as attribute) if isinstance(function.function, Guarded):
            counts = known.te_methods.get((str(owner), attribute), ())
            return arguments is _ANY or _count(arguments) in counts
    return False
