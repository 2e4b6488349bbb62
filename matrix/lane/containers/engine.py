"""The container engine: connecting, waiting for it, and removing what ended runs left there.

Any engine with the Docker API will do; ``DOCKER_HOST`` names it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

import docker
import requests
import urllib3
from docker.errors import APIError, ContainerError, DockerException, NotFound
from docker.transport import unixconn

from matrix.errors import EngineError
from matrix.system import cleanup
from matrix.system.cleanup import process_label

PATIENCE = 60.0
"""Seconds to wait for an engine that does not answer, e.g. while it is restarted."""

TIMEOUT = 120
"""Limit for one call of the API, in seconds."""

OWNER = "te-matrix.owner"
"""Label of containers and volumes that names the process that has made them."""

GONE = (
    requests.exceptions.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.Timeout,
    urllib3.exceptions.ProtocolError,
    ConnectionError,
)
"""Errors of an engine that does not answer. Error answers of the engine are not among them."""

Answer = TypeVar("Answer")


class EngineGone(EngineError):
    """The engine answered before, and does not any more."""


class _Connection(unixconn.UnixHTTPConnection):
    """A connection that knows its socket before the engine answers.

    The SDK's own forgets the socket, open, where nobody listens; then nothing can close it.
    """

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.unix_socket)


# The SDK has no option for it, and every client of this process may find the engine gone.
unixconn.UnixHTTPConnection = _Connection  # type: ignore[misc]


class _API(docker.APIClient):
    """The SDK's, which asks the engine while it is made; it is closed where that fails."""

    def __init__(self, *args: Any, **options: Any) -> None:
        try:
            super().__init__(*args, **options)
        except BaseException:
            self.close()
            raise


class _Client(docker.DockerClient):
    def __init__(self, *args: Any, **options: Any) -> None:
        self.api = _API(*args, **options)


def connect() -> docker.DockerClient:
    """Return a client of the engine; where none answers, nothing is left open.

    :raises EngineError: none answers.
    """
    try:
        client = _Client.from_env(timeout=TIMEOUT)
        try:
            client.ping()
        except BaseException:
            client.close()
            raise
    except (DockerException, *GONE) as error:
        raise EngineError(
            "no container engine answers",
            why=_innermost(error),
            do="Start Docker or Podman's socket, or name it in DOCKER_HOST; "
            "without an engine, `--runner local --lane cpu` answers in the cpu lane",
        ) from error
    return client


def _innermost(error: BaseException) -> str:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error)


def explanation(error: BaseException) -> str:
    """Return the explanation that the engine gives for an error, or else the error itself."""
    return str(getattr(error, "explanation", None) or error)


def with_retry(client: docker.DockerClient, call: Callable[[], Answer]) -> Answer:
    """Return the result of ``call``; if the engine does not answer, wait and call again.

    :raises EngineGone: the engine does not answer within :data:`PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except GONE as error:
            if not _answers_again(client, deadline):
                raise EngineGone(
                    f"the container engine went away and did not come back in {PATIENCE:.0f} s",
                    why=_innermost(error),
                    do="Start it and run again; what is finished is kept",
                ) from error


def _answers_again(client: docker.DockerClient, deadline: float) -> bool:
    while time.monotonic() < deadline:
        try:
            client.ping()
            return True
        except (APIError, *GONE):
            time.sleep(0.5)
    return False


def sweep(client: docker.DockerClient) -> list[str]:
    """Remove the containers and volumes of ended processes of this machine; return their names."""
    return remove_owned(client, lambda label: not cleanup.may_be_running(label))


def remove_owned(client: docker.DockerClient, whose: Callable[[str], bool]) -> list[str]:
    """Remove the containers and volumes of certain processes; return their names.

    :param whose: tells by its label whether a process is one of them.
    """
    containers: list[Any] = client.containers.list(
        all=True, filters={"label": OWNER}, ignore_removed=True
    )
    volumes: list[Any] = client.volumes.list(filters={"label": OWNER})
    left = [container for container in containers if whose(container.labels[OWNER])]
    left += [volume for volume in volumes if whose(volume.attrs["Labels"][OWNER])]
    for resource in left:
        remove(resource)
    return [resource.name for resource in left]


def remove(resource: Any) -> None:
    """Remove a container, running or not, or a volume, if it still exists."""
    try:
        resource.remove(force=True)
    except NotFound:
        return
    except APIError as error:
        # 409: the engine is removing it already.
        if error.status_code != requests.codes.conflict:
            raise


def run_program(
    client: docker.DockerClient, image: str, program: str, arguments: list[str], **options: Any
) -> bytes:
    """Run a program in a container without a network; return its standard output.

    :param image: name or id of the image.
    :param program: name or path of the program in the image.
    :param options: further options of docker-py's ``containers.create``.
    :raises APIError: the container could not be started.
    :raises ContainerError: the program failed.
    """
    container: Any = client.containers.create(
        image,
        arguments,
        entrypoint=[program],
        network_mode="none",
        labels={OWNER: process_label()},
        **options,
    )
    try:
        container.start()
        status = container.wait()["StatusCode"]
        stdout: bytes = container.logs(stdout=True, stderr=False)
        if status:
            stderr = container.logs(stdout=False, stderr=True)
            raise ContainerError(container, status, [program, *arguments], image, stderr)
        return stdout
    finally:
        remove(container)
