"""Rule: a state dict comes out of a file as it went in, whichever way it took."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

# PyTorch says so on every save and load in one process.
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")

PLAIN = {"distributed": False, "weights_only": False}
DISTRIBUTED = {"distributed": True, "weights_only": False}


def written(transport: Any, state: Any, path: Path, scenario: dict[str, Any]) -> str:
    stream = io.BytesIO()
    transport.write(state, stream, scenario)
    path.write_bytes(stream.getbuffer())
    return str(path)


@pytest.mark.parametrize("scenario", [PLAIN, DISTRIBUTED])
def test_a_state_comes_back(worker: Any, tmp_path: Path, scenario: dict[str, Any]) -> None:
    transport = worker("transport")
    state = {"a": torch.arange(3.0), "_extra_state": io.BytesIO(b"abc")}
    path = written(transport, state, tmp_path / "x", scenario)
    empty = {"a": torch.zeros(3), "_extra_state": io.BytesIO()}
    found, held = transport.read(path, scenario, lambda: empty)
    assert torch.equal(found["a"], state["a"])
    assert found["_extra_state"].getvalue() == b"abc"
    assert torch.equal(held["a"], state["a"]) and set(held) == {"a"}


def test_a_distributed_checkpoint_raises_what_went_wrong(worker: Any, tmp_path: Path) -> None:
    transport = worker("transport")
    path = written(transport, {"a": torch.ones(3)}, tmp_path / "x", DISTRIBUTED)
    with pytest.raises(ValueError, match=r"Size mismatch between saved"):
        transport.read(path, DISTRIBUTED, lambda: {"a": torch.ones(4)})
    with pytest.raises(RuntimeError, match=r"Missing key in checkpoint state_dict: b"):
        transport.read(path, DISTRIBUTED, lambda: {"b": torch.ones(3)})


def test_a_distributed_checkpoint_is_read_into_what_the_model_has(
    worker: Any, tmp_path: Path
) -> None:
    transport = worker("transport")
    state = {"a": torch.ones(3), "more": torch.ones(1)}
    path = written(transport, state, tmp_path / "x", DISTRIBUTED)
    held = {"a": torch.zeros(3)}
    found, in_file = transport.read(path, DISTRIBUTED, lambda: held)
    assert set(found) == set(in_file) == {"a"}
    assert found["a"].tolist() == [1.0, 1.0, 1.0]
    assert held["a"].tolist() == [0.0, 0.0, 0.0], "it is load_state_dict that changes the model"


def test_a_distributed_checkpoint_is_read_whole_whatever_the_model_has(
    worker: Any, tmp_path: Path
) -> None:
    transport = worker("transport")
    state = {"a": torch.ones(3), "more._extra_state": io.BytesIO(b"abc")}
    path = written(transport, state, tmp_path / "x", DISTRIBUTED)
    found, held = transport.read(path, DISTRIBUTED, dict, whole=True)
    assert found.keys() == state.keys() and held.keys() == {"a"}
    assert found["a"].tolist() == [1.0, 1.0, 1.0]
    assert found["more._extra_state"].getvalue() == b"abc"


class Shy(torch.Tensor):
    """A tensor that asks for none of its chunks, so that PyTorch reads nothing into it."""

    def __create_chunk_list__(self) -> list[Any]:  # PyTorch's own name
        return []


def test_what_the_file_holds_is_told_whatever_a_model_asks_for(worker: Any, tmp_path: Path) -> None:
    transport = worker("transport")
    path = written(transport, {"a": torch.ones(3)}, tmp_path / "x", DISTRIBUTED)
    own = torch.zeros(3).as_subclass(Shy)
    found, held = transport.read(path, DISTRIBUTED, lambda: {"a": own})
    assert found["a"].tolist() == [0.0, 0.0, 0.0]
    assert held["a"].tolist() == [1.0, 1.0, 1.0] and type(held["a"]) is torch.Tensor


def test_a_distributed_checkpoint_is_read_into_a_state_dict_with_the_models_versions(
    worker: Any, tmp_path: Path
) -> None:
    transport = worker("transport")
    model = torch.nn.BatchNorm1d(2)
    path = written(transport, model.state_dict(), tmp_path / "x", DISTRIBUTED)
    found, _held = transport.read(path, DISTRIBUTED, model.state_dict)
    assert found._metadata == model.state_dict()._metadata == {"": {"version": 2}}


def test_only_weights_are_read_where_that_is_asked(worker: Any, tmp_path: Path) -> None:
    transport = worker("transport")
    path = written(transport, {"_extra_state": io.BytesIO(b"abc")}, tmp_path / "x", PLAIN)
    with pytest.raises(Exception, match="Weights only load failed"):
        transport.read(path, {"distributed": False, "weights_only": True}, dict)


def test_pytorch_s_own_code_is_told_the_truth_while_it_writes(worker: Any) -> None:
    cuda = worker("standin.cuda")
    own = {name: vars(torch.Tensor).get(name) for name in ("is_cuda", "is_cpu")}
    cuda._claim_device()
    try:
        tensor = torch.ones(1)
        assert (tensor.is_cuda, tensor.is_cpu) == (True, False)
        with cuda.truthful():
            assert (tensor.is_cuda, tensor.is_cpu) == (False, True)
        assert (tensor.is_cuda, tensor.is_cpu) == (True, False)
    finally:
        for name, value in own.items():
            delattr(torch.Tensor, name)
            if value is not None:
                setattr(torch.Tensor, name, value)
