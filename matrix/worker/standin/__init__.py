"""The cpu lane's replacement for hardware and compiled code.

The Python code of the release is real: modules, hooks, extra state, recipes. Replaced are:

common: ``transformer_engine.common``, without its shared objects
extension: the compiled extension, assembled from what a release's own exports
exports, exports.json: what the extension of each release exports
enumerations, tensor_meta: its enumerations, and its holder of FP8 metadata
signatures: how its functions are called
kernels: the few functions that compute, on the CPU
quantized: quantizing by recipes other than delayed scaling
fp8: the arithmetic of the casts
compiled: a release's own compiled extension, where the harness was given one
cuda: CUDA requests, served by the CPU, which reports Hopper or Blackwell
packages: metadata of flash-attn, internals that torch.onnx has dropped
gap: EmulationGap, raised for operations that are not emulated
"""

import os
from pathlib import Path
from typing import Any, Optional


def install(source: Path, version: str, binding: Optional[Path] = None) -> None:
    """Prepare this process for importing the release at ``source`` without a GPU.

    :param source: folder that holds ``transformer_engine``.
    :param version: its version, e.g. "1.11" or "2.17.1".
    :param binding: the release's own compiled extension; None for the stand-in.
    """
    from matrix.worker.standin import common, cuda, extension, packages

    def load_extension(name: str) -> Any:
        return extension.load(name, version, binding)

    # Functions decorated by torch.compile run as written; else PyTorch's compiler is imported.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    cuda.install()
    packages.install(version)
    common.install(source, load_extension)
    if tuple(int(part) for part in version.split(".")[:2]) < (1, 8):
        load_extension("transformer_engine_extensions")
