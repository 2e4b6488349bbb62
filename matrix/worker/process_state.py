"""What loads of one process share: it is put back after each, or the process ends.

Watched are the modules of Transformer Engine and of the worker: their names, classes, and every
dict, list and set that can be reached from them; the environment, warning filters and flags of
PyTorch. Not watched are the values inside of tensors and what only C++ can see.
"""

import collections
import functools
import os
import sys
import threading
import types
import warnings
from typing import Any, Dict, Iterable, Iterator, List, Tuple

import torch

_OWN = ("transformer_engine", "matrix.worker")
# Holds the model that is loaded into, which is not put back but built anew.
_LEFT_OUT = "matrix.worker.cell"
_OF_TORCH = ("torch.nn.modules.module", "torch.serialization", "torch.overrides")
_MOST = 10000
"""Containers with more items are tables of constants."""

_Lists = (list, collections.deque)
_Sequences = (*_Lists, tuple, set, frozenset)


class ProcessState:
    """The state of this process as it is now."""

    def __init__(self) -> None:
        self._modules = _modules()
        self._flags = _flags()
        self._environment = dict(os.environ)
        self._filters = list(warnings.filters)
        self._seen: Dict[int, Any] = {}
        self._copies: List[Tuple[Any, Any]] = []
        self._caches: List[Tuple[Any, int]] = []
        for name in (*self._modules, *_OF_TORCH):
            if name in sys.modules:
                self._keep(vars(sys.modules[name]))

    def restore(self) -> bool:
        """Put back what has changed since; return False where that cannot be done."""
        if _modules() != self._modules or _flags() != self._flags:
            return False
        if os.environ != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        if warnings.filters != self._filters:
            warnings.filters[:] = self._filters  # type: ignore[index]
        for cache, size in self._caches:
            if cache.cache_info().currsize != size:
                cache.cache_clear()
        for kept, copy in self._copies:
            if not _same(kept, copy):
                _put_back(kept, copy)
        return True

    def _keep(self, first: Any) -> None:
        """Keep copies of a container and of all that can be reached from it."""
        waiting = [first]
        while waiting:
            value = waiting.pop()
            if id(value) in self._seen:
                continue
            self._seen[id(value)] = value  # kept alive, so that its id stays its own
            if isinstance(value, functools._lru_cache_wrapper):
                self._caches.append((value, value.cache_info().currsize))
            copied = _copied(value)
            if copied is not None:
                self._copies.append((value, copied))
            waiting.extend(_inside(value))


def _modules() -> Tuple[str, ...]:
    return tuple(name for name in sys.modules if name.startswith(_OWN) and name != _LEFT_OUT)


def _flags() -> Tuple[Any, ...]:
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.is_autocast_enabled(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )


def _copied(value: Any) -> Any:
    """Return a copy of what a container holds; None where a value is no container that changes."""
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, type):
        return dict(vars(value))
    if isinstance(value, (*_Lists, set)):
        return list(value) if isinstance(value, _Lists) else set(value)
    return None


def _inside(value: Any) -> Iterator[Any]:
    """Yield what can be reached from a value in one step, as far as it is watched."""
    found: Iterable[Any] = ()
    if isinstance(value, dict):
        found = value.values() if len(value) < _MOST else ()
    elif isinstance(value, _Sequences):
        found = value if len(value) < _MOST else ()
    elif isinstance(value, type):
        found = vars(value).values() if value.__module__.startswith(_OWN) else ()
    elif isinstance(value, types.FunctionType):
        found = _of_function(value)
    elif isinstance(value, (staticmethod, classmethod, types.MethodType)):
        found = (value.__func__,)
    elif isinstance(value, property):
        found = (value.fget, value.fset)
    elif isinstance(value, functools._lru_cache_wrapper):
        found = (value.__wrapped__,)
    elif _has_state(value):
        found = (vars(value),)
    for item in found:
        if isinstance(item, type) and not item.__module__.startswith(_OWN):
            continue
        yield item


def _of_function(function: types.FunctionType) -> Tuple[Any, ...]:
    cells = function.__closure__ or ()
    held = []
    for cell in cells:
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            continue
    return (*held, function.__defaults__, function.__kwdefaults__, vars(function))


def _has_state(value: Any) -> bool:
    if isinstance(value, (threading.local, types.SimpleNamespace)):
        return True
    return type(value).__module__.startswith(_OWN) and hasattr(value, "__dict__")


def _same(value: Any, copy: Any) -> bool:
    try:
        if isinstance(value, type):
            return bool(vars(value) == copy)
        return bool((list(value) if isinstance(value, collections.deque) else value) == copy)
    except Exception:  # tensors that are not the same object cannot be compared as a whole
        return False


def _put_back(value: Any, copy: Any) -> None:
    if isinstance(value, type):
        _put_back_names(value, copy)
    elif isinstance(value, dict):
        for key in [key for key in value if key not in copy]:
            del value[key]
        for key, item in copy.items():
            if key not in value or value[key] is not item:
                value[key] = item
    else:
        value.clear()
        (value.update if isinstance(value, set) else value.extend)(copy)


def _put_back_names(owner: type, names: Dict[str, Any]) -> None:
    for name in [name for name in vars(owner) if name not in names]:
        delattr(owner, name)
    for name, item in names.items():
        if vars(owner).get(name) is not item:
            setattr(owner, name, item)
