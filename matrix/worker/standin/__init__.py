"""The cpu lane's replacement for hardware and compiled code.

The Python code of the release is real: modules, hooks, extra state, recipes. Replaced are:

common: ``transformer_engine.common``, without its shared objects
extension: the compiled extension: DType, FP8 casts, scale updates
dtypes: the numbers of DType by release
enumerations: enumerations of the extension that end up in checkpoints
quantized: quantizing by recipes other than delayed scaling
fp8: the arithmetic of the casts
cuda: CUDA requests, served by the CPU, which reports Hopper or Blackwell
packages: metadata of flash-attn, internals that torch.onnx has dropped
gap: EmulationGap, raised for operations that are not emulated
"""

import os
from pathlib import Path


def install(source: Path, version: str) -> None:
    """Prepare this process for importing the release at ``source`` without a GPU.

    :param source: folder that holds ``transformer_engine``.
    :param version: its version, e.g. "1.11" or "2.17.1".
    """
    from matrix.worker.standin import common, cuda, packages

    # Functions decorated by torch.compile run as written; else PyTorch's compiler is imported.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    cuda.install()
    packages.install(version)
    common.install(source, version)
    if tuple(int(part) for part in version.split(".")[:2]) < (1, 8):
        common.load_extension("transformer_engine_extensions", version)
