"""The GPU that the engine gives to containers. It is checked before anything is built."""

from __future__ import annotations

import csv
import io
import tarfile

import docker
from docker.errors import APIError, ContainerError

from matrix.errors import EngineError
from matrix.lane.containers.confinement import device_requests
from matrix.lane.containers.engine import OWNER, explanation, remove, run_program
from matrix.lane.containers.image_spec import KIND
from matrix.lane.device import ONLY_CPU, is_enough
from matrix.system.cleanup import process_label

_QUERY = ["--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"]


def require_device(client: docker.DockerClient, gpu: str) -> None:
    """Check that the engine gives a GPU to containers; no image is needed for that.

    :param gpu: index or UUID.
    :raises EngineError: it does not.
    """
    image = _empty_image(client)
    probe = client.containers.create(
        image, ["nothing"], labels={OWNER: process_label()}, device_requests=device_requests(gpu)
    )
    try:
        probe.start()
    except APIError as error:
        why = explanation(error)
        # The image is empty: if only its program is missing, the engine has found the GPU.
        if "nothing" not in why or "device driver" in why:
            raise EngineError(
                f"the container engine gives no GPU {gpu}",
                why=why,
                do=f"Install the NVIDIA container toolkit where the engine runs. {ONLY_CPU}",
            ) from error
    finally:
        remove(probe)
        client.images.remove(image, force=True)


def _empty_image(client: docker.DockerClient) -> str:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    client.api.import_image_from_data(
        stream.getvalue(),
        repository="te-matrix/probe",
        tag="empty",
        changes=[f"LABEL {KIND}=probe"],
    )
    return "te-matrix/probe:empty"


def require_fp8_attention(client: docker.DockerClient, gpu: str, image: str) -> None:
    """Check that a GPU can do FP8 attention.

    :param gpu: index or UUID.
    :param image: any image with a C library; the engine's toolkit adds ``nvidia-smi``.
    :raises EngineError: the GPU cannot, or cannot be asked.
    """
    name, capability, driver = _ask(client, gpu, image)
    if not is_enough(capability):
        raise EngineError(
            f"GPU {gpu}, {name} (driver {driver}), has compute capability {capability}; "
            "FP8 attention needs 9.0 (sm90) or newer",
            do=f"Choose another GPU with --gpu. {ONLY_CPU}",
        )


def _ask(client: docker.DockerClient, gpu: str, image: str) -> list[str]:
    """Return name, compute capability and driver version."""
    try:
        stdout = run_program(
            client, image, "nvidia-smi", _QUERY, device_requests=device_requests(gpu)
        )
        (row,) = csv.reader(io.StringIO(stdout.decode()), skipinitialspace=True)
        name, capability, driver = row
    except (APIError, ContainerError, ValueError) as error:
        raise EngineError(
            f"nvidia-smi in {image} does not say what GPU {gpu} is",
            why=explanation(error),
            do=f"See that the engine's NVIDIA container toolkit works. {ONLY_CPU}",
        ) from error
    return [name, capability, driver]
