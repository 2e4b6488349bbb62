#!/usr/bin/env bash
# Prepare an environment for the gpu lane with one Transformer Engine release, without a network.
#
#     gpu-environment.sh RELEASE WHEELS VENV
#
# RELEASE is a version of the packages, e.g. 2.9.0. WHEELS is a folder of files downloaded
# before: the release's transformer_engine, transformer_engine_cu12 or _cu13 and
# transformer_engine_torch (a source archive), te-checkpoint-matrix, and whatever those need
# that is not installed already. VENV is made anew; it sees the packages of the python3 that
# makes it, PyTorch among them.
#
# transformer_engine_torch is built unless WHEELS holds it built: that takes nvcc (on PATH, or
# in CUDA_HOME) and the headers of cuDNN and NCCL, which the wheels that PyTorch needs bring.
# The built wheel is left in WHEELS.
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' "$0" >&2; exit 2; }
fail() { echo "gpu-environment.sh: $*" >&2; exit 4; }

[ $# -eq 3 ] || usage
release=$1 wheels=$(realpath "$2") venv=$3
[ -d "$wheels" ] || fail "$2 is no folder; download the wheels first"

cuda=$(python3 -c 'import torch; print((torch.version.cuda or "").partition(".")[0])') ||
    fail "this python3 has no PyTorch; install it first"
[ -n "$cuda" ] || fail "the PyTorch of this python3 is built without CUDA"

python3 -m venv --clear "$venv"
python=$venv/bin/python
site=$("$python" -c 'import site; print(site.getsitepackages()[0])')
# --system-site-packages would miss those of a python3 that lives in an environment itself.
python3 -c 'import site; print("\n".join(site.getsitepackages()))' >"$site/outer.pth"
# Transformer Engine looks for cuDNN and NVRTC beside itself.
while read -r outer; do
    [ -d "$outer/nvidia" ] && [ ! -e "$site/nvidia" ] && ln -s "$outer/nvidia" "$site/nvidia"
done <"$site/outer.pth"
pip() { "$python" -m pip --disable-pip-version-check "$@"; }
pip_here() { pip install --quiet --no-index --find-links "$wheels" "$@"; }

pip_here --no-deps "transformer_engine==$release" "transformer_engine_cu$cuda==$release"

if ! compgen -G "$wheels/transformer_engine_torch-$release-*.whl" >/dev/null; then
    nvcc=${CUDA_HOME:+$CUDA_HOME/bin/}nvcc
    command -v "$nvcc" >/dev/null || fail "nvcc is neither on PATH nor in CUDA_HOME"
    CUDA_HOME=${CUDA_HOME:-$(dirname "$(dirname "$(realpath "$(command -v nvcc)")")")}
    headers=$("$python" - <<'PYTHON'
import importlib.metadata as metadata, pathlib

def folders():
    for dist in metadata.distributions():
        if (dist.metadata["Name"] or "").startswith(("nvidia-cudnn-cu", "nvidia-nccl-cu")):
            for file in dist.files or ():
                if file.name in ("cudnn.h", "nccl.h"):
                    yield str(pathlib.Path(dist.locate_file(file)).parent.resolve())

print(":".join(sorted(set(folders()))))
PYTHON
    )
    export CUDA_HOME CPLUS_INCLUDE_PATH=$headers${CPLUS_INCLUDE_PATH:+:$CPLUS_INCLUDE_PATH}
    mkdir "$venv/src"
    tar -xzf "$wheels/transformer_engine_torch-$release.tar.gz" -C "$venv/src"
    # It first asks the network for a wheel built elsewhere, and 2.9 does so even when forced
    # to build; the closed port has it find none.
    https_proxy=http://127.0.0.1:9 NVTE_FRAMEWORK=pytorch MAX_JOBS=${MAX_JOBS:-$(nproc)} \
        pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir "$wheels" \
        "$venv/src/transformer_engine_torch-$release" ||
        fail "transformer_engine_torch $release does not build here"
fi
pip_here --no-deps "$wheels/transformer_engine_torch-$release"-*.whl
pip_here te-checkpoint-matrix
"$python" -c 'import torch, transformer_engine.pytorch' ||
    fail "transformer_engine $release is installed and cannot be imported"
echo "$venv: transformer_engine $release"
