"""Rule: gpu-environment.sh makes an environment that imports, or says in a sentence what lacks.

Nothing is compiled: PyTorch, Transformer Engine and the toolkit are stand-ins with the files that
the script and its two helpers look at, and the source archive has a build backend of its own that
notes what it was given.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

CONTAINERS = Path(__file__).parents[2] / "containers"
RELEASE = "9.9"
SYMBOL = "cublasLtGroupedMatrixLayoutInit_internal"
UNDEFINED = f"/te/libtransformer_engine.so: undefined symbol: {SYMBOL}, version libcublasLt.so.13"
NO_DRIVER = "libcuda.so.1: cannot open shared object file: No such file or directory"
BACKEND = """
import json, os, zipfile
def build_wheel(folder, settings=None, metadata=None):
    name = "transformer_engine_torch-9.9-py3-none-any.whl"
    given = {key: os.environ.get(key, "") for key in ("CUDA_HOME", "CPLUS_INCLUDE_PATH")}
    info = "transformer_engine_torch-9.9.dist-info"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("built_with.json", json.dumps(given))
        about = "Metadata-Version: 2.1", "Name: transformer_engine_torch", "Version: 9.9", ""
        wheel.writestr(f"{info}/METADATA", "\\n".join(about))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


def write(folder: Path, files: Mapping[str, str], mode: int = 0o644) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)


def a_wheel(folder: Path, name: str, files: Mapping[str, str], needs: Sequence[str] = ()) -> None:
    info = f"{name}-{RELEASE}.dist-info"
    metadata = [f"Name: {name}", f"Version: {RELEASE}", *(f"Requires-Dist: {one}" for one in needs)]
    everything = {
        **files,
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = []
    with zipfile.ZipFile(folder / f"{name}-{RELEASE}-py3-none-any.whl", "w") as wheel:
        for path, text in everything.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
            record.append(f"{path},sha256={digest.rstrip('=')},{len(text)}")
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]) + "\n")


def installed(site: Path, name: str, version: str, files: Mapping[str, str]) -> None:
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    listed = "".join(f"{path},,\n" for path in files)
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    write(site, {**files, f"{info}/METADATA": about, f"{info}/RECORD": listed})


class Machine:
    """A machine with PyTorch for CUDA 13, a toolkit, and an nvcc on PATH that calls another."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.toolkit, self.wheels = folder, folder / "toolkit", folder / "wheels"
        self.wheels.mkdir()
        venv.create(folder / "outer", with_pip=False)
        self.site = next((folder / "outer").glob("lib/python*/site-packages"))
        installed(self.site, "torch", "2.99", {"torch/__init__.py": "from torch import version\n"})
        write(self.site, {"torch/version.py": "cuda = '13.0'\n"})
        wheel = {"wheel/__init__.py": "", "wheel/bdist_wheel.py": "class bdist_wheel: pass\n"}
        installed(self.site, "wheel", "1.0", wheel)
        for tool in ("setuptools", "ninja"):
            installed(self.site, tool, "99.0", {f"{tool}/__init__.py": ""})
        library = {"nvidia/cu13/lib/libcublasLt.so.13": "", "nvidia/cu13/lib/libnvrtc.so.13": ""}
        installed(self.site, "nvidia-cublas", "13.1.1.3", library)
        names = ("cublas_v2.h", "cusolverDn.h", "cusparse.h", "nvrtc.h")
        write(self.site / "nvidia/cu13/include", dict.fromkeys(names, ""))
        for name in ("cudnn", "nccl"):
            write(self.site / "nvidia" / name / "include", {f"{name}.h": ""})
        self.headers(self.toolkit, 13)
        write(
            self.toolkit / "bin",
            {"nvcc": f"#!/bin/sh\necho '#$ TOP={self.toolkit}/bin/..' >&2\n"},
            0o755,
        )
        shim = f'#!/bin/sh\nexec {self.toolkit}/bin/nvcc "$@"\n'
        write(folder / "shims/bin", {"nvcc": shim, "c++": "#!/bin/sh\n"}, 0o755)

    def headers(self, root: Path, major: int) -> None:
        version = f"#define CUDART_VERSION  {major}000\n"
        more = {"cuda_runtime.h": "", "crt/host_defines.h": "", "nv/target": ""}
        write(root / "include", {"cuda_runtime_api.h": version, **more})

    def download(self, loading: str = "pass", needs: Sequence[str] = ()) -> None:
        """Fill the folder of wheels; the core library's loading is the given statement."""
        package = {
            "__init__.py": "",
            "pytorch/__init__.py": "",
            "common/__init__.py": f"{loading}\n",
        }
        files = {f"transformer_engine/{name}": text for name, text in package.items()}
        a_wheel(self.wheels, "transformer_engine", files)
        a_wheel(self.wheels, "transformer_engine_cu13", {})
        a_wheel(self.wheels, "te_checkpoint_matrix", {"matrix/__init__.py": ""})
        about = "Metadata-Version: 2.1\nName: transformer_engine_torch\nVersion: 9.9\n"
        needed = "".join(f"Requires-Dist: {one}\n" for one in ("torch>=2.1", *needs))
        backend = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        sources = {"PKG-INFO": about + needed, "pyproject.toml": backend, "backend.py": BACKEND}
        name = f"transformer_engine_torch-{RELEASE}"
        with tarfile.open(self.wheels / f"{name}.tar.gz", "w:gz") as archive:
            for file, text in sources.items():
                entry = tarfile.TarInfo(f"{name}/{file}")
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))

    def run(self, *command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        places = [self.folder / "outer/bin", self.folder / "shims/bin"]
        kept = {k: v for k, v in os.environ.items() if k not in ("CUDA_HOME", "PYTHONPATH")}
        path = os.pathsep.join([*map(str, places), os.environ["PATH"]])
        words = [str(word) for word in command]
        env = kept | {"PATH": path} | more
        return subprocess.run(words, env=env, capture_output=True, text=True, check=False)

    def prepare(self) -> subprocess.CompletedProcess[str]:
        script = CONTAINERS / "gpu-environment.sh"
        return self.run("bash", script, RELEASE, self.wheels, self.folder / "made")

    def find_headers(self, cuda: str = "13", **more: str) -> subprocess.CompletedProcess[str]:
        """Run cuda_headers.py as on a machine without a toolkit in the usual place."""
        program = (
            f"import sys, pathlib; sys.path.insert(0, {str(CONTAINERS)!r}); import cuda_headers; "
            f"cuda_headers.USUAL = pathlib.Path({str(self.folder)!r}); "
            f"sys.exit(cuda_headers.main({cuda!r}, {str(self.site)!r}))"
        )
        return self.run(sys.executable, "-c", program, **more)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_environment_is_built_with_the_toolkit_behind_the_shim(machine: Machine) -> None:
    machine.download()
    done = machine.prepare()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{machine.folder / 'made'}: transformer_engine {RELEASE}\n"
    site = next((machine.folder / "made").glob("lib/python*/site-packages"))
    given = (site / "built_with.json").read_text()
    assert f'"CUDA_HOME": "{machine.toolkit}"' in given
    for folder in (
        machine.toolkit,
        *(machine.site / "nvidia" / n for n in ("cu13", "cudnn", "nccl")),
    ):
        assert str(folder / "include") in given
    # Releases up to 2.10 look for NVRTC in a folder of its own.
    assert (site / "nvidia/cuda_nvrtc/lib/libnvrtc.so.13").exists()
    assert list(machine.wheels.glob("transformer_engine_torch-9.9-*.whl"))


def test_a_release_that_cannot_be_loaded_is_refused_before_anything_is_built(
    machine: Machine,
) -> None:
    machine.download(f"raise OSError({UNDEFINED!r})")
    done = machine.prepare()
    assert done.returncode == 4
    (said,) = done.stderr.splitlines()
    assert f"needs {SYMBOL} of libcublasLt.so.13, which nvidia-cublas 13.1.1.3 lacks" in said
    assert "'nvidia-cublas>=13.2.0.9'" in said
    assert not list(machine.wheels.glob("transformer_engine_torch-9.9-*.whl"))


def test_what_the_release_needs_is_asked_for_before_the_build(machine: Machine) -> None:
    machine.download(needs=["no-such-package>=3"])
    done = machine.prepare()
    assert done.returncode == 4
    assert "pip download --dest" in done.stderr
    assert "'no-such-package>=3'" in done.stderr


def test_building_needs_wheel_and_says_so(machine: Machine) -> None:
    for path in (machine.site / "wheel").iterdir():
        path.unlink()
    machine.download()
    done = machine.prepare()
    assert done.returncode == 4
    assert "building needs setuptools, wheel and ninja" in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "transformer_engine",
        "transformer_engine_cu13",
        "te_checkpoint_matrix",
        "transformer_engine_torch",
    ],
)
def test_what_was_not_downloaded_is_named(machine: Machine, name: str) -> None:
    machine.download()
    for path in machine.wheels.glob(f"{name}-*"):
        path.unlink()
    done = machine.prepare()
    assert done.returncode == 4
    (said,) = done.stderr.splitlines()
    assert f"lacks {name.replace('te_checkpoint_matrix', 'te-checkpoint-matrix')}" in said
    assert "pip download" in said or "pip wheel" in said


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (UNDEFINED, "'nvidia-cublas>=13.2.0.9'"),
        (UNDEFINED.replace(SYMBOL, "cublasNew"), "--no-deps 'nvidia-cublas'"),
        (UNDEFINED.replace("libcublasLt.so.13", "libother.so.1"), "which no library here has"),
        ("undefined symbol: cuInit", "needs cuInit, which no library here has"),
        (NO_DRIVER, "linked to libcuda.so.1, which comes with NVIDIA's driver"),
        (
            NO_DRIVER.replace("libcuda.so.1", "libnccl.so.2"),
            "needs libnccl.so.2, which is not found",
        ),
        ("something else", "OSError: something else"),
    ],
)
def test_why_a_core_library_cannot_be_loaded(machine: Machine, message: str, said: str) -> None:
    loading = {
        "__init__.py": "raise AssertionError",
        "common/__init__.py": f"raise OSError({message!r})",
    }
    write(machine.site / "transformer_engine", loading)
    done = machine.run("python3", CONTAINERS / "core_library.py")
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert said in line


def test_a_core_library_that_can_be_loaded_is_no_word_worth(machine: Machine) -> None:
    write(machine.site / "transformer_engine", {"__init__.py": "1 / 0", "common/__init__.py": ""})
    done = machine.run("python3", CONTAINERS / "core_library.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_cuda_home_is_used_and_nothing_else_where_it_is_set(machine: Machine) -> None:
    machine.headers(machine.folder / "mine", 13)
    machine.headers(machine.folder / "old", 12)
    good = machine.find_headers(CUDA_HOME=str(machine.folder / "mine"))
    assert good.stdout.splitlines()[0] == str(machine.folder / "mine")
    bad = machine.find_headers(CUDA_HOME=str(machine.folder / "old"))
    assert bad.returncode == 4
    assert f"{machine.folder / 'old'} (CUDA_HOME) has those of CUDA 12" in bad.stderr


def test_the_packages_beside_pytorch_serve_without_a_toolkit(machine: Machine) -> None:
    (machine.folder / "shims/bin/nvcc").unlink()
    machine.headers(machine.site / "nvidia/cu13", 13)
    found = machine.find_headers(PATH=str(machine.folder / "shims/bin"))
    assert found.stdout.splitlines()[0] == str(machine.site / "nvidia/cu13"), found.stderr


def test_an_nvcc_that_is_a_link_or_says_nothing_is_no_toolkit(machine: Machine) -> None:
    write(machine.folder / "shims/bin", {"nvcc": "#!/bin/sh\necho nothing\n"}, 0o755)
    machine.headers(machine.site / "nvidia/cu13", 13)
    found = machine.find_headers(PATH=f"{machine.folder / 'shims/bin'}:/bin:/usr/bin")
    assert found.stdout.splitlines()[0] == str(machine.site / "nvidia/cu13"), found.stderr


@pytest.mark.parametrize(
    ("header", "package"),
    [
        ("nvidia/cu13/include/cusparse.h", "nvidia-cusparse"),
        ("nvidia/cudnn/include/cudnn.h", "nvidia-cudnn-cu13"),
    ],
)
def test_a_header_that_is_nowhere_is_named_with_its_package(
    machine: Machine, header: str, package: str
) -> None:
    (machine.site / header).unlink()
    done = machine.find_headers()
    assert done.returncode == 4
    assert f"{Path(header).name} are neither in {machine.toolkit} nor beside PyTorch" in done.stderr
    assert f"Install beside PyTorch {package}\n" in done.stderr


def test_for_cuda_12_the_packages_have_other_names(machine: Machine) -> None:
    machine.headers(machine.toolkit, 12)
    (machine.toolkit / "include/crt/host_defines.h").unlink()
    done = machine.find_headers("12")
    assert done.returncode == 4
    assert "Install beside PyTorch nvidia-cuda-nvcc-cu12\n" in done.stderr


def test_an_archive_that_is_none_is_named(machine: Machine) -> None:
    machine.download()
    (machine.wheels / f"transformer_engine_torch-{RELEASE}.tar.gz").write_text("not found")
    done = machine.prepare()
    assert done.returncode == 4
    (said,) = done.stderr.splitlines()
    assert said.endswith(
        f"transformer_engine_torch-{RELEASE}.tar.gz is not readable; download it again"
    )
