"""The compiled extension: a module with the release's own exports, of which little computes.

Enumerations, the holder of FP8 metadata and all names are as the release's compiled extension
has them (:mod:`matrix.worker.standin.exports`). What is in :mod:`matrix.worker.standin.kernels`
computes; calling anything else raises :class:`matrix.worker.standin.gap.EmulationGap`.
"""

import sys
import types
from pathlib import Path
from typing import Any, Callable, Dict, Optional

from matrix.worker.standin import compiled, enumerations, kernels, signatures, tensor_meta
from matrix.worker.standin.exports import Exports
from matrix.worker.standin.gap import EmulationGap, Missing


def load(name: str, version: str, file: Optional[Path] = None) -> types.ModuleType:
    """Import the extension of a release.

    :param name: ``transformer_engine_extensions`` (up to 1.7) or ``transformer_engine_torch``.
    :param version: version of the release.
    :param file: its compiled extension, which is then imported and only given the kernels;
        None for the stand-in.
    """
    exports = Exports(version)
    module = compiled.load(name, file) if file else _assembled(name, exports)
    kernels.install(module, exports)
    return module


def _assembled(name: str, exports: Exports) -> types.ModuleType:
    module = types.ModuleType(name)
    sys.modules[name] = module
    for member, facts in exports.enumerations.items():
        setattr(module, member, enumerations.make(name, member, **facts))
    for member, overloads in exports.functions.items():
        setattr(module, member, signatures.not_emulated(member, overloads))
    for member, value in exports.constants.items():
        setattr(module, member, value)
    for member in exports.classes:
        setattr(module, member, _opaque(name, member))
    for member in exports.submodules:
        setattr(module, member, _submodule(name, member))
    module.FP8TensorMeta = tensor_meta.make(name)  # type: ignore[attr-defined]
    if not exports.certain:
        module.__getattr__ = _unknown(exports)  # type: ignore[method-assign]
    return module


def _opaque(module: str, name: str) -> Any:
    """Return a class that cannot be instantiated."""

    def refuse(self: Any, *args: Any, **kwargs: Any) -> None:
        raise EmulationGap("tex." + name)

    return type(name, (), {"__init__": refuse, "__module__": module})


def _submodule(module: str, name: str) -> types.ModuleType:
    found = types.ModuleType(module + "." + name)
    found.__getattr__ = lambda member: _missing(found.__name__, member)  # type: ignore
    return found


def _unknown(exports: Exports) -> Callable[[str], Any]:
    """Return what answers for names that a candidate's extension may have."""
    found: Dict[str, Missing] = {}

    def answer(name: str) -> Any:
        if name in exports.absent:
            raise AttributeError(name)
        if sys._getframe(1).f_code.co_name == "find_class":
            # As the class of a pickled object it would be an error that no release raises.
            raise EmulationGap("tex.{} in a checkpoint".format(name))
        return found.setdefault(name, _missing("tex", name))

    return answer


def _missing(where: str, name: str) -> Missing:
    if name.startswith("__"):
        raise AttributeError(name)
    return Missing(where + "." + name)
