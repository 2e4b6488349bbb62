"""How a state dict gets into a file, and back out of it.

Either by ``torch.save`` and ``torch.load``, or by ``torch.distributed.checkpoint`` in one
process, without a process group. That writes a folder, which is kept as one tar archive.
"""

import contextlib
import os
import sys
import tarfile
import tempfile
from typing import Any, BinaryIO, Callable, Collection, ContextManager, Dict, Tuple

import torch

from matrix.worker.rewriting import with_entries

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


def read(
    path: str, scenario: Dict[str, Any], wanted: Callable[[], State], whole: bool = False
) -> Tuple[State, Dict[str, torch.Tensor]]:
    """Read a state dict, and what the file holds of its tensors.

    :param scenario: ``distributed``, and ``weights_only`` of ``torch.load``.
    :param wanted: returns the state dict of the model that is loaded into: a distributed
        checkpoint is read into the entries that the model has, and no others.
    :param whole: whether a distributed checkpoint is read by its own index instead.
    :returns: the state dict; and its tensors by key, as they are in the file. A distributed
        checkpoint is read twice for them: the entries of a model say themselves what of theirs
        is read, and those that ask for less keep the model's own values.
    """
    if not scenario["distributed"]:
        with open(path, "rb") as stream:
            found: State = torch.load(stream, weights_only=scenario["weights_only"])
        return found, _tensors(found)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(path) as archive:
            archive.extractall(folder)  # the worker's own archive
        if whole:
            found = _whole(folder)
            return found, _tensors(found)
        # Copies, so that it is load_state_dict that changes the model.
        own = wanted()
        state = with_entries(own, {key: _copy(value) for key, value in own.items()})
        with _truthful_device():
            _alone("load")(state, checkpoint_id=folder)
            held = _held(folder, _tensors(state))
    return state, held


def _whole(folder: str) -> State:
    """Return the state dict of a distributed checkpoint, whatever a model asks for."""
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    with tempfile.TemporaryDirectory() as other:
        path = os.path.join(other, "whole.pt")
        with _truthful_device():
            dcp_to_torch_save(folder, path)
        found: State = torch.load(path, weights_only=False)
    return found


def _tensors(state: State) -> Dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}


def _held(folder: str, wanted: Collection[str]) -> Dict[str, torch.Tensor]:
    """Return tensors of a distributed checkpoint, read into tensors that are none of a model's."""
    from torch.distributed.checkpoint import FileSystemReader, TensorStorageMetadata

    known = FileSystemReader(folder).read_metadata().state_dict_metadata
    found = {
        key: torch.empty(entry.size, dtype=entry.properties.dtype)
        for key, entry in known.items()
        if key in wanted and isinstance(entry, TensorStorageMetadata)
    }
    _alone("load")(found, checkpoint_id=folder)
    return found


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
