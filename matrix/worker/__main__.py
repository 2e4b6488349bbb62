"""Entry point. Makes this directory importable as ``matrix.worker``, wherever it is.

The package ``matrix`` made here is empty, so that nothing else of the harness can be imported.
"""

import importlib.util
import os
import sys
import types


def _become_package() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    parent = types.ModuleType("matrix")
    parent.__path__ = []
    sys.modules["matrix"] = parent
    spec = importlib.util.spec_from_file_location(
        "matrix.worker", os.path.join(here, "__init__.py"), submodule_search_locations=[here]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["matrix.worker"] = module
    spec.loader.exec_module(module)


def main() -> None:
    """Run the sub-command named on the command line."""
    _become_package()
    command = sys.argv[1:2]
    if command == ["forkserver"]:
        from matrix.worker import forkserver

        forkserver.run(int(sys.argv[2]))
    elif command == ["serve"]:
        from matrix.worker import release

        release.serve_stdio()
    elif command == ["device"]:
        import json

        from matrix.worker import device

        print(json.dumps(device.probe()))
    else:
        sys.exit("usage: worker forkserver FD | worker serve | worker device")


if __name__ == "__main__":
    main()
