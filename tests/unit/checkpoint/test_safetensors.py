"""Rule: a safetensors file is read if its tensors lie as the format demands, and only then."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.formats import recorded_state
from matrix.checkpoint.errors import CheckpointError
from matrix.doctor import inspect

Header = dict[str, Any]


def write(path: Path, header: Header | str | bytes, data: bytes) -> Path:
    text = header if isinstance(header, (str, bytes)) else json.dumps(header)
    raw = text.encode() if isinstance(text, str) else text
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def tensor(first: int, last: int, dtype: str = "U8", shape: list[int] | None = None) -> Header:
    found = [last - first] if shape is None else shape
    return {"dtype": dtype, "shape": found, "data_offsets": [first, last]}


WRONG: dict[str, tuple[Header | str | bytes, int, str]] = {
    "overlap": ({"a": tensor(0, 6), "b": tensor(4, 10)}, 10, "overlaps another"),
    "the same place": ({"a": tensor(0, 8), "b": tensor(0, 8)}, 8, "overlaps another"),
    "300 keys in one place": ({str(n): tensor(0, 8) for n in range(300)}, 8, "overlaps another"),
    "gap": ({"a": tensor(0, 4), "b": tensor(6, 10)}, 10, "follows a gap"),
    "gap at the start": ({"a": tensor(2, 10)}, 10, "follows a gap"),
    "cut short": ({"a": tensor(0, 10)}, 9, "cut short"),
    "something after": ({"a": tensor(0, 10)}, 11, "something was appended"),
    "size": ({"a": tensor(0, 10, "F32", [2])}, 10, "is not the size of F32"),
    "backwards": ({"a": {"dtype": "U8", "shape": [0], "data_offsets": [4, 0]}}, 4, "tensor a"),
    "negative": ({"a": tensor(-4, 4)}, 4, "does not describe tensor a"),
    "huge": ({"a": tensor(0, 1 << 70)}, 4, "does not describe tensor a"),
    "huge shape": ({"a": tensor(0, 4, "U8", [1 << 62] * 60)}, 4, "is not the size"),
    "many dimensions": ({"a": tensor(0, 1, "U8", [1] * 99)}, 1, "does not describe tensor a"),
    "no shape": ({"a": {"dtype": "U8", "data_offsets": [0, 4]}}, 4, "does not describe tensor a"),
    "a key twice": (
        '{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},'
        ' "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}',
        1,
        "a key stands twice",
    ),
    "metadata": ({"__metadata__": {"a": 1}}, 0, "not a mapping of texts"),
    "a list": ("[]", 0, "not a JSON object"),
    "no JSON": ("{", 0, "not JSON"),
    "no text": (b'{"\xff": 1}', 0, "not JSON"),
    "digits": ('{"a": ' + "9" * 10_000 + "}", 0, "not JSON"),
    "deep": ("[" * 100_000, 0, "not JSON"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_the_format_forbids_is_refused(name: str, tmp_path: Path) -> None:
    header, size, complaint = WRONG[name]
    path = write(tmp_path / "x.safetensors", header, bytes(size))
    with pytest.raises(CheckpointError, match=complaint):
        inspect(path)


@pytest.mark.parametrize("name", [n for n in WRONG if n not in ("no text",)])
def test_the_library_refuses_it_too(name: str, tmp_path: Path) -> None:
    """What is refused here is no file that the framework would have read, either."""
    from safetensors import safe_open

    header, size, _complaint = WRONG[name]
    path = write(tmp_path / "x.safetensors", header, bytes(size))
    if name == "a key twice":
        pytest.skip("the library keeps the last one, which is a second reading")
    if name == "many dimensions":
        pytest.skip("the library has no limit; no tensor of PyTorch has more than 64")
    with pytest.raises(Exception, match=r"."), safe_open(path, "pt") as opened:
        for key in opened.keys():  # noqa: SIM118
            opened.get_tensor(key)


RIGHT: dict[str, tuple[Header, int, int]] = {
    "in another order": ({"b": tensor(4, 10), "a": tensor(0, 4)}, 10, 2),
    "empty ones between": (
        {"a": tensor(0, 4), "e": tensor(4, 4), "b": tensor(4, 6), "f": tensor(6, 6)},
        6,
        4,
    ),
    "nothing": ({}, 0, 0),
    "padding": ({"a": tensor(0, 4)}, 4, 1),
    "types": (
        {
            "a": tensor(0, 8, "F64", [1]),
            "b": tensor(8, 10, "F4", [4]),
            "c": tensor(10, 13, "F6_E2M3", [4]),
            "d": tensor(13, 21, "C64", [1]),
            "e": tensor(21, 24, "NEW_TYPE", [5]),
        },
        24,
        5,
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_keys_are_counted(name: str, tmp_path: Path) -> None:
    header, size, count = RIGHT[name]
    text = json.dumps(header) + " " * 7 * (name == "padding")
    path = write(tmp_path / "x.safetensors", text, bytes(size))
    assert inspect(path).keys == count


def test_keys_of_three_shards(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for number in range(3):
        state = {f"{number}.{k}": v for k, v in recorded_state("2.17.1").items()}
        save_file(state, tmp_path / f"{number}.safetensors")
    report = inspect(tmp_path)
    assert (report.keys, report.files, len(report.modules)) == (21, 3, 9)
    assert len(report.notes) == 1


def test_states_of_other_types(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {
        "core_attention._extra_state": torch.empty(0, dtype=torch.uint8),
        "norm._extra_state": torch.empty(0),
        "own._extra_state": torch.ones(3),
    }
    save_file(state, tmp_path / "x.safetensors")
    report = inspect(tmp_path / "x.safetensors")
    found = {module.key: module for module in report.modules}
    assert found["core_attention._extra_state"].container == "empty tensor"
    assert found["norm._extra_state"].container == "empty float32 tensor"
    assert "own._extra_state" not in found


CUTS: list[Callable[[bytes], bytes]] = [lambda d: d[:4], lambda d: d[:20], lambda d: d[:-1]]


@pytest.mark.parametrize("cut", CUTS)
def test_a_file_cut_short(cut: Callable[[bytes], bytes], tmp_path: Path) -> None:
    from safetensors.torch import save

    path = tmp_path / "x.safetensors"
    path.write_bytes(cut(save({"a": torch.ones(64)})))
    with pytest.raises(CheckpointError, match="is no safetensors file|is not whole"):
        inspect(path)


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":[' + b"0," * 8_000_000 + b"0]}",
        b"{" + b",".join(b'"%d":{}' % n for n in range(3_000_000)) + b"}",
    ],
    ids=["values", "entries"],
)
def test_a_header_that_would_take_much_memory_is_not_parsed(header: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", header, b"")
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="more time or memory"):
            inspect(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(header)
    finally:
        tracemalloc.stop()
