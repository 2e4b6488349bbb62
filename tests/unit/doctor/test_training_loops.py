"""Rule: the loops that ``docs/checkpoints.md`` shows for state dicts in memory run as shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.formats import recorded_state
from matrix.catalogue import releases
from matrix.checkpoint.in_memory import InMemory
from matrix.doctor import CheckpointWarning, check
from matrix.lane import installed

DOCS = Path(__file__).parents[3] / "docs" / "checkpoints.md"
LOADER = "2.3"


def shown(heading: str) -> str:
    """Return the code below a line of the page."""
    text = DOCS.read_text(encoding="utf-8")
    found = re.search(rf"\n{heading}.*?\n\n((?:    .*\n|\n)+)", text)
    assert found
    return re.sub(r"^    ", "", found[1], flags=re.MULTILINE)


class Part(torch.nn.Module):
    """A module with an extra state, which it keeps as it was given."""

    def __init__(
        self, weight: torch.Tensor | None = None, bias: torch.Tensor | None = None
    ) -> None:
        super().__init__()
        for name, value in (("weight", weight), ("bias", bias)):
            if value is not None:
                setattr(self, name, torch.nn.Parameter(torch.zeros_like(value)))
        self.state: Any = torch.empty(0, dtype=torch.uint8)

    def get_extra_state(self) -> Any:
        return self.state

    def set_extra_state(self, state: Any) -> None:
        self.state = state


class Attention(torch.nn.Module):
    """Keys as 2.3 has them."""

    def __init__(self) -> None:
        super().__init__()
        like = recorded_state("1.7")
        self.qkv = Part(like["qkv.weight"], like["qkv.bias"])
        self.proj = Part(like["proj.weight"], like["proj.bias"])
        self.core_attention = Part()


@pytest.fixture(autouse=True)
def installed_release(monkeypatch: pytest.MonkeyPatch) -> None:
    found = installed.InstalledRelease(releases.load()[LOADER], Path())
    monkeypatch.setattr(installed, "find", lambda _known: found)


def assert_loaded(model: torch.nn.Module) -> None:
    """The model holds the checkpoint's weights, and states that 2.3 loads and updates."""
    weights, held = recorded_state("1.7"), model.state_dict()
    assert torch.equal(held["qkv.weight"], weights["qkv.weight"])
    (attention,) = [s for s in InMemory(held).read().states if s.attention]
    assert attention.holds == "metadata" and attention.fields and "recipe" in attention.fields
    assert check(held).status == "loads"


def test_a_plain_loop(tmp_path: Path) -> None:
    path, model = tmp_path / "last.pt", Attention()
    torch.save({"model": recorded_state("1.7"), "step": 5}, path)
    with pytest.warns(CheckpointWarning, match=r"repair\(state_dict"):
        exec(shown("In a plain loop"), {"torch": torch, "path": path, "model": model})
    assert_loaded(model)


class LightningModule(Attention):
    """What Lightning's trainer does with a module when it resumes."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Do nothing by default."""

    def resume(self, path: Path) -> None:
        checkpoint = torch.load(path, weights_only=False)
        self.on_load_checkpoint(checkpoint)
        self.load_state_dict(checkpoint["state_dict"], strict=True)


def namespace(**names: Any) -> dict[str, Any]:
    first = shown("In a plain loop").partition("\n\n")[0]
    exec(first, names)  # the import
    return names


def test_lightning(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": recorded_state("1.7"), "epoch": 1, "callbacks": {}}, path)
    names = namespace(LightningModule=LightningModule)
    exec(shown("With Lightning"), names)
    model = names["Model"]()
    model.resume(path)
    assert_loaded(model)


class GPTModel(Attention):
    """Has ``load_state_dict`` called by a training loop of Megatron-LM's kind."""

    def load_state_dict(self, state_dict: Any, strict: bool = True) -> Any:
        return super().load_state_dict(state_dict, strict=strict)


def resume(chunks: list[GPTModel], checkpoint: dict[str, Any]) -> None:
    """Load each chunk of a pipeline from ``modelN``, or the only one from ``model``."""
    for number, chunk in enumerate(chunks):
        key = "model" if len(chunks) == 1 else f"model{number}"
        chunk.load_state_dict(checkpoint[key], strict=True)


@pytest.mark.parametrize("count", [1, 2])
def test_megatron(count: int) -> None:
    names = namespace(GPTModel=GPTModel)
    exec(shown("With Megatron-LM"), names)
    chunks = [names["Model"]() for _ in range(count)]
    keys = ["model"] if count == 1 else [f"model{number}" for number in range(count)]
    resume(chunks, {key: recorded_state("1.7") for key in keys} | {"iteration": 100})
    for chunk in chunks:
        assert_loaded(chunk)
