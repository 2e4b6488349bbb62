"""CUDA requests, served by the CPU.

TE code asks for device "cuda", checks ``tensor.is_cuda`` and reads device properties. Here it
gets CPU tensors and the properties of a Hopper or Blackwell device. No computation is changed.
"""

import contextlib
from types import SimpleNamespace
from typing import Any, Callable, ContextManager, Iterator

import torch
from torch.overrides import TorchFunctionMode

_TAKES_DEVICE_POSITIONALLY = (torch.Tensor.to,)


def _is_cuda(device: Any) -> bool:
    if isinstance(device, torch.device):
        return bool(device.type == "cuda")
    if isinstance(device, str):
        return device.startswith("cuda")
    return isinstance(device, int) and not isinstance(device, bool)


def on_cpu(device: Any) -> Any:
    """Return ``device``, or the CPU if it is a CUDA device."""
    return torch.device("cpu") if _is_cuda(device) else device


class _ServeCuda(TorchFunctionMode):  # type: ignore[misc]  # torch is Any to mypy
    """Replaces CUDA devices in the arguments of PyTorch functions by the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if "device" in kwargs:
            kwargs = dict(kwargs, device=on_cpu(kwargs["device"]))
        if func in _TAKES_DEVICE_POSITIONALLY:
            args = args[:1] + tuple(
                on_cpu(a) if isinstance(a, (str, torch.device)) else a for a in args[1:]
            )
        return func(*args, **kwargs)


class _Stream:
    """A stream or event that has always finished."""

    cuda_stream = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __enter__(self) -> "_Stream":
        return self

    def __exit__(self, *exc: Any) -> None:
        pass

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        return None

    wait_stream = wait_event = synchronize = record = record_event = wait = _nothing


def _device(major: int) -> SimpleNamespace:
    return SimpleNamespace(
        name="cpu lane (reports sm{}0)".format(major),
        major=major,
        minor=0,
        total_memory=80 * 2**30,
        multi_processor_count=132,
    )


_DEVICES = {"hopper": _device(9), "blackwell": _device(10)}
_reported = SimpleNamespace(**vars(_DEVICES["hopper"]))
_CUDA = "12.9"
"""The version of CUDA from which every recipe can be used, on its device."""


def report(generation: str) -> None:
    """Report a device of another generation from now on.

    Releases cache what they find on first use, so that it is set before the first model is
    built.

    :param generation: ``hopper`` or ``blackwell``.
    """
    vars(_reported).update(vars(_DEVICES[generation]))


def _stay_on_cpu(storage: Any, location: str) -> Any:
    return storage if location.startswith("cuda") else None


_STREAM = _Stream()
_DO_NOTHING = ["init", "_lazy_init", "set_device", "synchronize", "empty_cache", "ipc_collect"]
_YIELD_NOTHING = ["stream", "device"]
_ANSWERS = {
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "get_device_capability": lambda *a, **k: (_reported.major, _reported.minor),
    "get_device_properties": lambda *a, **k: _reported,
    "get_device_name": lambda *a, **k: _reported.name,
    "current_stream": lambda *a, **k: _STREAM,
    "default_stream": lambda *a, **k: _STREAM,
    "Stream": _Stream,
    "Event": _Stream,
    "is_current_stream_capturing": lambda: False,
    "is_bf16_supported": lambda *a, **k: True,
    "get_rng_state": lambda *a, **k: torch.get_rng_state(),
    "set_rng_state": lambda state, *a, **k: torch.set_rng_state(state),
}


def _do_nothing() -> Callable[..., None]:
    # A new function each time, because PyTorch's tracing rules need one object per name.
    return lambda *a, **k: None


def _yield_nothing() -> Callable[..., ContextManager[None]]:
    return lambda *a, **k: contextlib.nullcontext()


def _claim_device() -> None:
    """Have tensors say that they are on a CUDA device."""
    # On the class, because the mode below is off inside __torch_dispatch__.
    torch.Tensor.is_cuda = property(lambda self: True)
    torch.Tensor.is_cpu = property(lambda self: False)


@contextlib.contextmanager
def truthful() -> Iterator[None]:
    """Have tensors say during the context that they are on the CPU.

    PyTorch's own code that writes tensors to files asks, and takes no others.
    """
    del torch.Tensor.is_cuda, torch.Tensor.is_cpu
    try:
        yield
    finally:
        _claim_device()


def install() -> None:
    """Serve CUDA requests by the CPU until this process ends."""
    torch.version.cuda = _CUDA
    for name, answer in _ANSWERS.items():
        setattr(torch.cuda, name, answer)
    for name in _DO_NOTHING:
        setattr(torch.cuda, name, _do_nothing())
    for name in _YIELD_NOTHING:
        setattr(torch.cuda, name, _yield_nothing())
    torch.cuda.nvtx.range = _yield_nothing()
    torch.cuda.nvtx.range_push = _do_nothing()
    torch.cuda.nvtx.range_pop = _do_nothing()

    wrapper = torch.Tensor._make_wrapper_subclass

    def make_wrapper_subclass(cls: Any, size: Any, *args: Any, **kwargs: Any) -> Any:
        if "device" in kwargs:
            kwargs["device"] = on_cpu(kwargs["device"])
        return wrapper(cls, size, *args, **kwargs)

    torch.Tensor._make_wrapper_subclass = staticmethod(make_wrapper_subclass)
    _claim_device()
    torch.Tensor.cuda = lambda self, *a, **k: self
    torch.serialization.register_package(5, lambda storage: None, _stay_on_cpu)
    _ServeCuda().__enter__()
