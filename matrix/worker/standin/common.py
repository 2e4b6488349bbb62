"""``transformer_engine.common`` without its shared objects.

The real ``common/__init__.py`` has helper functions and statements that load
``libtransformer_engine.so``. The helpers run unchanged. Module-level statements that call
something are left out, and functions that look for compiled libraries or installed packages are
replaced. Submodules such as ``common.recipe`` are the release's own, because ``__path__`` is
unchanged.
"""

import ast
import importlib.metadata
import sys
import types
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any, Callable, Dict

_HERE = Path(__file__).resolve().parent
NAME = "transformer_engine.common"


def _is_inert(node: ast.stmt) -> bool:
    """Tell whether a module-level statement only defines or imports something."""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)):
        return True
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        return not any(isinstance(part, ast.Call) for part in ast.walk(node.value))
    return False


class _WithoutSharedObjects(SourceFileLoader):
    """Loads ``common/__init__.py`` from its source, inert statements only."""

    replacements: Dict[str, Callable[..., Any]] = {}

    def get_code(self, fullname: str) -> Any:
        tree = ast.parse(self.get_data(self.path), self.path)
        tree.body = [node for node in tree.body if _is_inert(node)]
        return compile(tree, self.path, "exec")

    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        for name, replacement in self.replacements.items():
            setattr(module, name, replacement)


class _Finder(MetaPathFinder):
    """Finds ``transformer_engine.common`` and nothing else."""

    def __init__(self, source: Path, load_extension: Callable[[str], Any]) -> None:
        folder = source / "transformer_engine" / "common"
        self._loader = _WithoutSharedObjects(NAME, str(folder / "__init__.py"))
        self._loader.replacements = _replacements(load_extension)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != NAME:
            return None
        return spec_from_file_location(fullname, self._loader.path, loader=self._loader)


def install(source: Path, load_extension: Callable[[str], Any]) -> None:
    """Replace ``transformer_engine.common`` for later imports.

    :param source: folder that holds the release's ``transformer_engine``.
    :param load_extension: imports the extension of the given name.
    """
    sys.meta_path.insert(0, _Finder(source, load_extension))


def _is_package_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _replacements(load_extension: Callable[[str], Any]) -> Dict[str, Callable[..., Any]]:
    """Return replacements for functions of ``common`` that look for compiled libraries."""
    return {
        # 2.4 and later load the extension through this one.
        "load_framework_extension": lambda framework: load_extension(
            "transformer_engine_" + framework
        ),
        # 1.8 to 2.3 glob for transformer_engine_torch.*.<this suffix> below get_te_path().
        "_get_sys_extension": lambda: "py",
        "get_te_path": lambda: _HERE / "loadable",
        # 1.10 to 2.3 start pip for this, six times.
        "is_package_installed": _is_package_installed,
    }
