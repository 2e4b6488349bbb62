"""Calls of the compiled extension's functions, by the parameters that a release gives them."""

import functools
import inspect
from inspect import Parameter, Signature
from typing import Any, Callable, Iterator, List

from matrix.worker.standin.gap import EmulationGap, ExtensionError


def called_as(name: str, overloads: List[str], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes the parameters of the extension's function.

    :param overloads: its parameters, e.g. ``["input, dtype, *, out"]``. Those without names are
        called ``arg0`` and so on, and can be given by position only.
    :param function: what is called with the arguments, in the order of the parameters.
    """
    signatures = [parsed(overload) for overload in overloads]

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = _bound(name, signatures, args, kwargs)
        try:
            return function(*bound.args, **bound.kwargs)
        except (EmulationGap, ExtensionError):
            raise
        except Exception as error:
            raise EmulationGap("{}(): {!r}".format(name, error)) from error

    return _named(name, overloads, call)


def not_emulated(name: str, overloads: List[str]) -> Callable[..., Any]:
    """Return what stands for a function that is not emulated, however it is called."""

    def function(*args: Any, **kwargs: Any) -> Any:
        raise EmulationGap("tex." + name)

    return _named(name, overloads, function)


def _named(name: str, overloads: List[str], function: Any) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = "\n".join("{}({}) -> None".format(name, one) for one in overloads)
    return function  # type: ignore[no-any-return]


def _bound(
    name: str, signatures: List[Signature], args: Any, kwargs: Any
) -> inspect.BoundArguments:
    for signature in signatures:
        try:
            return signature.bind(*args, **kwargs)
        except TypeError as error:
            reason = error
    raise TypeError("{}(): incompatible function arguments: {}".format(name, reason))


@functools.lru_cache(maxsize=None)
def parsed(overload: str) -> Signature:
    """Return the parameters of one overload, e.g. ``"tensor, noop=None"``."""
    return Signature(list(_parameters(overload)))


def _parameters(overload: str) -> Iterator[Parameter]:
    kind: Any = Parameter.POSITIONAL_OR_KEYWORD
    for part in filter(None, overload.split(", ")):
        name, _, default = part.partition("=")
        if name == "*":
            kind = Parameter.KEYWORD_ONLY
        elif name.startswith("**"):
            yield Parameter(name[2:], Parameter.VAR_KEYWORD)
        elif name.startswith("*"):
            yield Parameter(name[1:], Parameter.VAR_POSITIONAL)
        else:
            unnamed = name.startswith("arg") and name[3:].isdigit()
            value = default if default else Parameter.empty
            yield Parameter(name, Parameter.POSITIONAL_ONLY if unnamed else kind, default=value)
