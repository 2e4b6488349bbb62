"""Rule: every name that a release's code asks its extension for is found, however it asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from matrix.lane.binding import asked


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import transformer_engine_torch as tex\ntex.quantize(tex.DType.kByte)", "quantize DType"),
        ("import transformer_engine_extensions as tex\ntex.FP8TensorMeta", "FP8TensorMeta"),
        ("import transformer_engine_torch\ntransformer_engine_torch.gemm", "gemm"),
        ("from transformer_engine_torch import DType as kind, gemm", "DType gemm"),
        ("from transformer_engine_torch import *", ""),
        ("import transformer_engine_torch as tex\ngetattr(tex, 'plugin', None)", "plugin"),
        ("import transformer_engine_torch as tex\nhasattr(tex, 'plugin')", "plugin"),
        ("import transformer_engine_torch as tex\ntex.__name__", ""),
        ("import torch as tex\ntex.quantize", ""),
    ],
)
def test_it_is_found(tmp_path: Path, code: str, names: str) -> None:
    file = tmp_path / "transformer_engine" / "pytorch" / "module" / "base.py"
    file.parent.mkdir(parents=True)
    file.write_text(code)
    assert asked.names(tmp_path) == set(names.split())
