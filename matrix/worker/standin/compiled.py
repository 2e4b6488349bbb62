"""A release's own compiled extension, where the harness was given one.

It is the real binding, compiled without the code that it binds: calling what needs a kernel
ends the process. :mod:`matrix.worker.standin.kernels` then takes the place of a few.
"""

import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path


def load(name: str, file: Path) -> types.ModuleType:
    """Import a compiled extension.

    :param name: its name, ``transformer_engine_torch`` or ``transformer_engine_extensions``.
    :raises ImportError: it does not fit this interpreter or its PyTorch.
    """
    loader = importlib.machinery.ExtensionFileLoader(name, str(file))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module
