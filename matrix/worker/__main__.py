"""Entry point: makes the directory importable as ``worker``, wherever it lies."""

import importlib.util
import os
import sys


def _become_package() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    spec = importlib.util.spec_from_file_location(
        "worker", os.path.join(here, "__init__.py"), submodule_search_locations=[here]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["worker"] = module
    spec.loader.exec_module(module)


def main() -> None:
    """Run the sub-command named on the command line."""
    _become_package()
    command = sys.argv[1:2]
    if command == ["host"]:
        from worker import host

        host.run(int(sys.argv[2]))
    elif command == ["serve"]:
        from worker import release

        release.serve_stdio()
    elif command == ["device"]:
        import json

        from worker import device

        print(json.dumps(device.probe()))
    else:
        sys.exit("usage: worker host FD | worker serve | worker device")


if __name__ == "__main__":
    main()
