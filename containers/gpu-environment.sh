#!/usr/bin/env bash
# Prepare an environment for the gpu lane with one Transformer Engine release, without a network.
#
#     gpu-environment.sh RELEASE WHEELS VENV
#
# RELEASE is a version of the packages, e.g. 2.20.2. WHEELS is a folder of files downloaded
# before: the release's transformer_engine, transformer_engine_cu12 or _cu13 and
# transformer_engine_torch (a source archive), te-checkpoint-matrix, and whatever those need
# that is not installed already; docs/gpu.md has the commands. VENV is made anew; it sees the
# packages of the python3 that makes it, PyTorch among them.
#
# transformer_engine_torch is built unless WHEELS holds it built. That takes a C++ compiler,
# setuptools, wheel and ninja (installed, or in WHEELS) and CUDA's headers: those of a toolkit
# (CUDA_HOME, nvcc on PATH, /usr/local/cuda) and of the packages beside PyTorch. MAX_JOBS limits
# how many files are compiled at a time, up to 3.4 GB each. The built wheel is left in WHEELS.
#
# A release whose core library cannot be loaded beside this PyTorch is refused before anything
# is built. Exit code 4: it cannot be done here, and a sentence says why; 2: wrong arguments.
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' "$0" >&2; exit 2; }
fail() { echo "gpu-environment.sh: $*" >&2; exit 4; }

[ $# -eq 3 ] || usage
release=$1 wheels=$(realpath "$2") venv=$3
here=$(dirname "$(realpath "$0")")
[ -d "$wheels" ] || fail "$2 is no folder; download the wheels first"

cuda=$(python3 -c 'import torch; print((torch.version.cuda or "").partition(".")[0])') ||
    fail "this python3 has no PyTorch; install it first"
[ -n "$cuda" ] || fail "the PyTorch of this python3 is built without CUDA"

# Everything that can be missing is asked for before the long build.
downloaded() { compgen -G "$wheels/$1" >/dev/null; }
core=transformer_engine_cu$cuda
for name in transformer_engine "$core"; do
    downloaded "$name-$release-*.whl" || fail "$wheels lacks $name $release:" \
        "pip download --no-deps --dest $2 $name==$release"
done
downloaded "te_checkpoint_matrix-*.whl" ||
    fail "$wheels lacks te-checkpoint-matrix: pip wheel --wheel-dir $2 . in its clone"
built="transformer_engine_torch-$release-*.whl"
source_archive=$wheels/transformer_engine_torch-$release.tar.gz
downloaded "$built" || [ -e "$source_archive" ] ||
    fail "$wheels lacks transformer_engine_torch $release: pip download --no-deps" \
        "--no-build-isolation --dest $2 transformer_engine_torch==$release"

python3 -m venv --clear "$venv" || fail "python3 makes no environments; install its venv and pip"
python=$venv/bin/python
pip() { "$python" -m pip --disable-pip-version-check "$@"; }
pip_here() { pip install --quiet --no-index --find-links "$wheels" "$@"; }
# Python up to 3.11 adds a setuptools of its own, which is too old for the newest wheel.
pip uninstall --quiet --yes setuptools 2>/dev/null || true
site=$("$python" -c 'import site; print(site.getsitepackages()[0])')
# --system-site-packages would miss those of a python3 that lives in an environment itself.
outer=$(python3 -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])')
{ echo "$outer"; python3 -c 'import site; print("\n".join(site.getsitepackages()))'; } \
    >"$site/outer.pth"
# Transformer Engine looks for CUDA's libraries beside itself; up to 2.10 for NVRTC and cuRAND in
# folders of their own, which the packages for CUDA 13 do not have.
mkdir "$site/nvidia"
for folder in "$outer"/nvidia/*/; do
    [ -d "$folder" ] && ln -s "$folder" "$site/nvidia/"
done
for library in "$outer"/nvidia/cu[0-9]*/lib/lib{nvrtc,curand}.so.*; do
    [ -e "$library" ] || continue
    case $library in *nvrtc*) name=cuda_nvrtc ;; *) name=curand ;; esac
    mkdir -p "$site/nvidia/$name/lib"
    ln -s "$library" "$site/nvidia/$name/lib/"
done

pip_here --no-deps "transformer_engine==$release" "$core==$release"
why=$("$python" "$here/core_library.py" 2>&1 >/dev/null) ||
    fail "transformer_engine $release cannot be imported beside this PyTorch:" \
        "${why##*$'\n'}"

# requirements FILE: what a source archive or a wheel needs beside PyTorch and Transformer Engine,
# one a line.
requirements() {
    "$python" - "$1" <<'PYTHON'
import email, sys, tarfile, zipfile

name = sys.argv[1]
if name.endswith(".whl"):
    archive = zipfile.ZipFile(name)
    file = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    text = archive.read(file)
else:
    archive = tarfile.open(name)
    file = min((n for n in archive.getnames() if n.endswith("PKG-INFO")), key=len)
    text = archive.extractfile(file).read()
for needed in email.message_from_bytes(text).get_all("Requires-Dist") or ():
    if not needed.startswith(("torch", "transformer")) and "extra ==" not in needed:
        print(needed.replace(" ", ""))
PYTHON
}
needed=()
for archive in "$wheels/$core-$release"-*.whl "$wheels"/$built "$source_archive"; do
    [ -e "$archive" ] || continue
    found=$(requirements "$archive" 2>/dev/null) || fail "$archive is not readable; download it again"
    mapfile -t -O ${#needed[@]} needed <<<"$found"
done
mapfile -t needed < <(printf '%s\n' "${needed[@]}" | sed '/^$/d' | sort -u)
[ ${#needed[@]} -eq 0 ] || pip_here "${needed[@]}" ||
    fail "$wheels lacks what Transformer Engine $release needs:" \
        "pip download --dest $2 ${needed[*]@Q}"

if ! downloaded "$built"; then
    command -v "${CXX:-c++}" >/dev/null || fail "there is no C++ compiler; install g++"
    pip_here setuptools wheel ninja &&
        "$python" -W ignore -c 'from wheel.bdist_wheel import bdist_wheel' ||
        fail "building needs setuptools, wheel and ninja. Install them beside PyTorch, or" \
            "pip download --dest $2 setuptools wheel ninja"
    found=$("$python" "$here/cuda_headers.py" "$cuda" "$outer" 2>"$venv/why") ||
        fail "$(<"$venv/why")"
    { read -r CUDA_HOME; read -r headers; } <<<"$found"
    export CUDA_HOME CPLUS_INCLUDE_PATH=$headers${CPLUS_INCLUDE_PATH:+:$CPLUS_INCLUDE_PATH}
    # ninja is a program, in the environment of PyTorch or in this one.
    PATH=$PATH:$venv/bin:$(python3 -c 'import sysconfig; print(sysconfig.get_path("scripts"))')
    mkdir "$venv/src"
    tar -xzf "$source_archive" -C "$venv/src"
    # It first asks the network for a wheel built elsewhere, and 2.9 does so even when forced
    # to build; the closed port has it find none.
    https_proxy=http://127.0.0.1:9 NVTE_FRAMEWORK=pytorch MAX_JOBS=${MAX_JOBS:-$(nproc)} \
        pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir "$wheels" \
        "$venv/src/transformer_engine_torch-$release" ||
        fail "transformer_engine_torch $release does not build with CUDA_HOME=$CUDA_HOME." \
            "Releases before 2.20 need nvcc there, which nvidia-cuda-nvcc brings, too"
fi
pip_here --no-deps "$wheels/transformer_engine_torch-$release"-*.whl
pip_here te-checkpoint-matrix
"$python" -c 'import torch, transformer_engine.pytorch' ||
    fail "transformer_engine $release is installed and cannot be imported"
echo "$venv: transformer_engine $release"
