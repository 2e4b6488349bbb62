"""The cpu lane: what stands in for hardware and compiled code, and nothing else.

===================  =========================================================
real                 the release's Python: modules, hooks, extra state, recipes
``common.py``        ``transformer_engine.common`` without its shared objects
``extension.py``     the compiled extension: DType, FP8 casts, scale updates
``dtypes.py``        the numbers behind DType, by release
``fp8.py``           arithmetic of the casts
``cuda.py``          CUDA requests served from the CPU, reporting sm90
``packages.py``      flash-attn metadata, dropped torch.onnx internals
``gap.py``           EmulationGap: asked for something that is not emulated
===================  =========================================================
"""

import os
from pathlib import Path


def install(source: Path, version: str) -> None:
    """Prepare this process for importing the release at ``source`` without a GPU.

    :param source: folder that holds ``transformer_engine``.
    :param version: its version, e.g. "1.11" or "2.17.1".
    """
    from matrix.worker.standin import common, cuda, packages

    # What torch.compile decorates runs as written: to decorate it imports PyTorch's compiler.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    cuda.install()
    packages.install(version)
    common.install(source, version)
    if tuple(int(part) for part in version.split(".")[:2]) < (1, 8):
        common.load_extension("transformer_engine_extensions", version)
