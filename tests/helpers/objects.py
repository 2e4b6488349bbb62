"""A real S3 API over HTTP on loopback: moto's server, behind a door that misbehaves on demand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

import fsspec
from moto.backends import get_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

ERRORS = {
    "500 Internal Server Error": "InternalError",
    "503 Slow Down": "SlowDown",
    "400 Bad Request": "IncompleteBody",
    "403 Forbidden": "AccessDenied",
}


class Quiet(WSGIRequestHandler):
    def log(self, *_args: Any) -> None:
        pass


class ObjectServer:
    """Serves until left. What it does to requests can be changed at any time.

    :ivar every: a 500 is answered to every so-many-th request, a throttle to the next; 0: never.
    :ivar hold: part of a path; a request that writes there is read in part and never answered.
    :ivar deny: refuse everything.
    :ivar refused: errors answered, by status.
    """

    def __init__(self) -> None:
        self.every, self.hold, self.deny = 0, "", False
        self.refused: dict[str, int] = dict.fromkeys(ERRORS, 0)
        self.held = threading.Event()
        self._count = 0
        self._lock = threading.Lock()
        self._app = DomainDispatcherApplication(create_backend_app)

    def __enter__(self) -> Self:
        self._server = make_server(
            "127.0.0.1", 0, self._serve, threaded=True, request_handler=Quiet
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def make(self, bucket: str) -> None:
        """Make an empty bucket. The environment must lead here already."""
        for backend in get_backend("s3").values():
            for region in backend.values():
                region.reset()
        system = fsspec.filesystem("s3")
        system.clear_instance_cache()
        fsspec.filesystem("s3").mkdir(bucket)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to find its way here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def _serve(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if status := self._misfortune():
            return self._refuse(environ, start, status)
        if self.hold and environ["REQUEST_METHOD"] == "PUT" and self.hold in environ["PATH_INFO"]:
            return self._read_a_part(environ, start)
        answer: Iterable[bytes] = self._app(environ, start)
        return answer

    def _misfortune(self) -> str | None:
        with self._lock:
            self._count += 1
            turn = self._count % self.every if self.every else None
        if self.deny:
            return "403 Forbidden"
        return {0: "500 Internal Server Error", 1: "503 Slow Down"}.get(turn)  # type: ignore[arg-type]

    def _refuse(
        self, environ: dict[str, Any], start: Callable[..., Any], status: str
    ) -> Iterable[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with self._lock:
            self.refused[status] += 1
        start(status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{ERRORS[status]}</Code><Message>no</Message></Error>".encode()]

    def _read_a_part(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Take a part of the body, then wait for the rest. Its writer is killed meanwhile."""
        whole = int(environ["CONTENT_LENGTH"])
        read = len(environ["wsgi.input"].read(whole // 8))
        self.held.set()
        read += len(environ["wsgi.input"].read(whole - read))
        assert read < whole, "the writer was to be killed"
        return self._refuse({**environ, "CONTENT_LENGTH": ""}, start, "400 Bad Request")
