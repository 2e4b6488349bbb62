"""How a state dict gets into a file, and back out of it.

Either by ``torch.save`` and ``torch.load``, or by ``torch.distributed.checkpoint`` in one
process, without a process group. That writes a folder, which is kept as one tar archive.
"""

import contextlib
import sys
import tarfile
import tempfile
from typing import Any, BinaryIO, Callable, ContextManager, Dict

import torch

State = Dict[str, Any]


def write(state: State, stream: BinaryIO, scenario: Dict[str, Any]) -> None:
    """Write a state dict.

    :param scenario: ``distributed``: whether it goes through ``torch.distributed.checkpoint``.
    """
    if not scenario["distributed"]:
        torch.save(state, stream)
        return
    with tempfile.TemporaryDirectory() as folder:
        with _truthful_device():
            _alone("save")(state, checkpoint_id=folder)
        with tarfile.open(fileobj=stream, mode="w") as archive:
            archive.add(folder, arcname=".")


def read(path: str, scenario: Dict[str, Any], wanted: Callable[[], State]) -> State:
    """Read a state dict.

    :param scenario: ``distributed``, and ``weights_only`` of ``torch.load``.
    :param wanted: returns the state dict of the model that is loaded into: a distributed
        checkpoint is read into the entries that the model has, and no others.
    """
    if not scenario["distributed"]:
        with open(path, "rb") as stream:
            found: State = torch.load(stream, weights_only=scenario["weights_only"])
        return found
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(path) as archive:
            archive.extractall(folder)  # the worker's own archive
        # Copies, so that it is load_state_dict that changes the model.
        state = {key: _copy(value) for key, value in wanted().items()}
        with _truthful_device():
            _alone("load")(state, checkpoint_id=folder)
    return state


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _alone(name: str) -> Callable[..., Any]:
    """Return a function of ``torch.distributed.checkpoint`` that needs no process group.

    It raises what went wrong itself, in place of the exception that lists it by rank.
    """
    from torch.distributed import checkpoint

    function = getattr(checkpoint, name)

    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, no_dist=True, **options)
        except checkpoint.CheckpointException as error:
            raised, _traceback = next(iter(error.failures.values()))
            raise raised from None

    return call


def _truthful_device() -> ContextManager[None]:
    """Have tensors say that they are on the CPU, where the cpu lane says otherwise."""
    cuda = sys.modules.get("matrix.worker.standin.cuda")
    return contextlib.nullcontext() if cuda is None else cuda.truthful()
