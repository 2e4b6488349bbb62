"""Load the core library of the installed Transformer Engine beside this PyTorch.

    python core_library.py

The release's own code loads it, as at `import transformer_engine.pytorch`, and its extension for
PyTorch is not needed. Where the library cannot be loaded, one sentence on stderr says what it
lacks and what has that, and the exit code is 4.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib import metadata

FIRST_WITH = {"cublasLtGroupedMatrixLayoutInit_internal": "13.2.0.9"}
"""First version of the package of a library that has a function, as found by trying."""
DRIVER = "libcuda.so.1"


def load() -> None:
    """Load the core library as the release does.

    :raises OSError: the loader cannot load it.
    """
    import torch  # noqa: F401  # brings CUDA's libraries, as in every program that uses both

    # The package's own __init__ would import its extension for PyTorch as well.
    spec = importlib.util.find_spec("transformer_engine")
    assert spec is not None
    sys.modules["transformer_engine"] = importlib.util.module_from_spec(spec)
    importlib.import_module("transformer_engine.common")


def package_of(library: str) -> tuple[str, str] | None:
    """Return name and version of the installed package with a library; None where none has it."""
    for found in metadata.distributions():
        if any(file.name == library for file in found.files or ()):
            return found.metadata["Name"], found.version
    return None


def explained(message: str) -> str:
    """Return what a loader's message means, and what to do."""
    if found := re.search(r"undefined symbol: (\w+)(?:, version (\S+))?", message):
        return _without_symbol(found[1], found[2])
    if found := re.search(r"(lib\S+): cannot open shared object file", message):
        return _without_library(found[1])
    return message


def _without_symbol(symbol: str, library: str | None) -> str:
    package = package_of(library) if library else None
    if package is None:
        return f"its core library needs {symbol}, which no library here has"
    name, installed = package
    since = FIRST_WITH.get(symbol)
    wanted = f"{name}>={since}" if since else name
    return (
        f"its core library needs {symbol} of {library}, which {name} {installed} lacks. Install "
        f"a version that has it beside PyTorch: pip install --upgrade --no-deps '{wanted}' "
        "(pip then says that PyTorch asks for another)"
    )


def _without_library(library: str) -> str:
    if library == DRIVER:
        return (
            f"its core library is linked to {DRIVER}, which comes with NVIDIA's driver, and there "
            "is none here. Do this on the machine with the GPU, or take another release"
        )
    return f"its core library needs {library}, which is not found. Install what brings it"


def main() -> int:
    """Load the library; return the exit code."""
    try:
        load()
    except Exception as error:  # whatever a release's code raises is why it cannot be imported
        print(" ".join(explained(f"{type(error).__name__}: {error}").split()), file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
