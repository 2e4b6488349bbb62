"""Third-party packages and metadata that some releases expect.

Up to 1.11, attention can only be built if ``flash-attn`` is installed; nothing of it is called
here. Internals of ``torch.onnx`` that newer PyTorch has dropped are needed for the export to
ONNX only. A source tree has no package metadata, by which some releases find their own version.
"""

import importlib.metadata
import importlib.util
import sys
import types
from typing import Any, Dict, Iterable

from matrix.worker.standin.gap import Missing

# The oldest version that 1.5 to 1.11 accept.
_FLASH_ATTENTION = "2.0.6"
_FLASH_ATTENTION_MODULES = ("flash_attn", "flash_attn.flash_attn_interface", "flash_attn_2_cuda")


class _Stub(types.ModuleType):
    """A module in which every name exists; calling one raises ``EmulationGap``."""

    __path__: Any = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Missing(self.__name__ + "." + name)


def _install_modules(names: Iterable[str]) -> None:
    for name in names:
        if name not in sys.modules and not _exists(name):
            sys.modules[name] = _Stub(name)


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _answer_versions(answers: Dict[str, str]) -> None:
    real = importlib.metadata.version

    def version(distribution_name: str) -> str:
        try:
            return real(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            answer = answers.get(distribution_name.replace("_", "-"))
            if answer is None:
                raise
            return answer

    importlib.metadata.version = version


def install(version: str) -> None:
    """Install the replacements for what is missing.

    :param version: version of the release.
    """
    answers = {"transformer-engine": version}
    if tuple(int(part) for part in version.split(".")[:2]) < (1, 12):
        answers["flash-attn"] = _FLASH_ATTENTION
        _install_modules(_FLASH_ATTENTION_MODULES)
    _answer_versions(answers)
    _install_onnx()


def _install_onnx() -> None:
    import torch.onnx

    _install_modules(["torch.onnx._internal.jit_utils"])
    for name in ("symbolic_helper", "_type_utils", "register_custom_op_symbolic"):
        if not hasattr(torch.onnx, name):
            setattr(torch.onnx, name, _onnx_name(name))


def _onnx_name(name: str) -> Any:
    if name == "register_custom_op_symbolic":
        return lambda *a, **k: None
    stub = _Stub("torch.onnx." + name)
    stub.parse_args = lambda *a, **k: lambda function: function  # type: ignore[attr-defined]
    sys.modules.setdefault("torch.onnx." + name, stub)
    return stub
