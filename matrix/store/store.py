"""The store: a folder or URL of immutable records and checkpoints, named by their content.

The name of a record consists of its key, the digest of its observation and the runner.
Writing the same observation again writes the same object, and different observations under
one key are kept side by side. Any number of writers can therefore share a store without a
lock: an object appears whole or not at all, and the order of writing does not matter.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
from pydantic import ValidationError

from matrix.catalogue.selection import Selection
from matrix.errors import MatrixError, StoreError, UsageError
from matrix.store.records import FORMAT, Attempt, Load, Manifest, Save
from matrix.system.cleanup import PART, mark, sweep
from matrix.system.collector import gc_paused

_KINDS: dict[str, type[Save] | type[Load] | type[Attempt]] = {
    "saves": Save,
    "loads": Load,
    "attempts": Attempt,
}
_SELECTION = "selection.json"
_MARK = "writable"
_BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "az"}
"""Protocols without folders; there ``makedirs`` of fsspec would create a bucket."""
_AT_ONCE = 1000
"""Number of objects whose bytes are in memory at the same time."""


class Store:
    """Evidence on a file system.

    :param url: a folder, or any URL that fsspec supports.
    :raises UsageError: the URL's protocol is unknown, or needs a package that is missing.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self.url = str(url)
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"--store {self.url} cannot be used",
                why=str(error),
                do="s3:// needs this package's extra `s3`, gs:// its extra `gs`",
            ) from error
        protocols = _protocols(self._fs)
        self._local = "file" in protocols
        self._has_folders = not _BUCKETS.intersection(protocols)
        # The errors of fsspec's remote file systems have no common base class.
        self._errors = OSError if self._local else Exception
        self._known: dict[str, str] = {}

    @property
    def absolute(self) -> str:
        """The URL, or the full path of a local folder, for processes in other working folders."""
        return self._root if self._local else self.url

    def prepare(self) -> None:
        """Create the store's folders, and check that they can be written.

        :raises StoreError: they cannot be written.
        """
        with self._store_errors("cannot be written", "Name a writable place with --store"):
            for folder in (*_KINDS, "checkpoints", "shards") if self._has_folders else ():
                self._fs.makedirs(self._path(folder), exist_ok=True)
            self._put(_MARK, b"")
            for folder in (*_KINDS, "checkpoints", "shards", "") if self._local else ():
                sweep(Path(self._path(folder)), PART)

    def exists(self) -> bool:
        """Return whether there is a store that a run has prepared.

        :raises StoreError: the place cannot be read.
        """
        with self._store_errors():
            self._fs.invalidate_cache()
            return any(self._fs.exists(self._path(name)) for name in (_MARK, *_KINDS))

    @contextlib.contextmanager
    def _store_errors(
        self,
        what: str = "cannot be read",
        do: str = "See that it can be reached, and run again: what is finished is kept",
    ) -> Iterator[None]:
        """Convert errors of the file system into one that names the store.

        :param what: what could not be done.
        :param do: what the user can do.
        :raises StoreError: the body raised an error of the file system.
        """
        try:
            yield
        except MatrixError:
            raise
        except self._errors as error:
            why = str(error) or type(error).__name__
            raise StoreError(f"the store {self.url} {what}", why=why, do=do) from error

    def _path(self, *parts: str) -> str:
        return posixpath.join(self._root, *parts)

    def _put(self, name: str, data: bytes) -> None:
        """Write one object atomically."""
        path = self._path(name)
        if not self._local:
            self._fs.pipe(path, data)
            return
        handle, part = tempfile.mkstemp(dir=Path(path).parent, prefix=mark(PART))
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(part).replace(path)

    def _write(self, name: str, data: bytes) -> None:
        do = "What was finished before is kept; free space or rights and run again"
        with self._store_errors(f"cannot write {name}", do):
            self._put(name, data)

    def add(self, record: Save | Load) -> None:
        """Write a record.

        :raises StoreError: it cannot be written; so do all methods that write.
        """
        folder = "saves" if isinstance(record, Save) else "loads"
        name = f"{record.key}-{record.observed()[:16]}-{record.provenance.runner}"
        data = record.model_dump_json(exclude_none=True).encode()
        self._write_known(f"{folder}/{name}.json", data)

    def add_attempt(self, attempt: Attempt) -> None:
        """Write an attempt that produced no evidence, beside all earlier ones."""
        data = attempt.model_dump_json().encode()
        self._write_known(f"attempts/{attempt.key}-{_digest(data)[:16]}.json", data)

    def _write_known(self, name: str, data: bytes) -> None:
        self._write(name, data)
        self._known[name] = _digest(data)

    def add_checkpoint(self, path: Path) -> str:
        """Write a copy of a checkpoint file, and return the SHA-256 of its bytes."""
        data = path.read_bytes()
        digest = _digest(data)
        self.put_checkpoint(digest, data)
        return digest

    def put_checkpoint(self, digest: str, data: bytes) -> None:
        """Write a checkpoint under the SHA-256 of its bytes."""
        self._write(f"checkpoints/{digest}.pt", data)

    def checkpoints(self) -> set[str]:
        """Return the SHA-256 digests of the checkpoints in the store."""
        found = {posixpath.basename(name) for name in self._list("checkpoints")}
        return {name.removesuffix(".pt") for name in found if name.endswith(".pt")}

    def add_manifest(self, manifest: Manifest) -> None:
        """Write the note that the store holds a finished shard."""
        self._write(_manifest_name(manifest), manifest.model_dump_json().encode())

    def forget_manifests(self, split: str | None) -> None:
        """Delete the notes on finished shards, except those of one split.

        :param split: see :attr:`Manifest.split`; None deletes all.
        """
        for manifest in self.manifests():
            if manifest.split != split:
                with self._store_errors("cannot be written"):
                    self._fs.rm_file(self._path(_manifest_name(manifest)))

    def manifests(self) -> list[Manifest]:
        """Return the notes on the finished shards that the store holds.

        :raises StoreError: one cannot be read.
        """
        found = self._objects("shards")
        return [parse(Manifest, data, f"{self.url}/shards/{name}") for name, data in found]

    def remember(self, selection: Selection) -> None:
        """Write the selection of a run that is about to start."""
        self._write(_SELECTION, selection.model_dump_json().encode())

    def forget(self) -> None:
        """Delete the selection: the evidence in the store is not that of a single run."""
        path = self._path(_SELECTION)
        with self._store_errors("cannot be written"), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(path)

    def remembered(self) -> Selection | None:
        """Return the selection of the last run; None before the first one.

        :raises StoreError: it cannot be read.
        """
        data = self._read(self._path(_SELECTION))
        return parse(Selection, data, f"{self.url}/{_SELECTION}") if data is not None else None

    def checkpoint(self, digest: str) -> bytes | None:
        """Return the bytes of a checkpoint; None where the store does not have it.

        :param digest: SHA-256 of the bytes.
        :raises StoreError: the bytes do not match the digest, or cannot be read.
        """
        path = self._path("checkpoints", f"{digest}.pt")
        data = self._read(path)
        if data is None:
            return None
        if _digest(data) != digest:
            raise StoreError(
                f"checkpoint {path} does not match its digest",
                why="it was changed or torn after it was saved",
                do="Delete it; the next run saves it again",
            )
        return data

    def content(self) -> str:
        """Return the SHA-256 of the names and bytes of all records and attempts.

        :raises StoreError: one cannot be read.
        """
        return _content(
            {
                f"{kind}/{name}": _digest(data)
                for kind in _KINDS
                for name, data in self._objects(kind)
            }
        )

    def content_known(self) -> str:
        """Return the same of those that were read or written through this object.

        It differs from :meth:`content` where someone else has written since.
        """
        return _content(self._known)

    def saves(self) -> dict[str, list[Save]]:
        """Return all saves by key. A key has several where runners or observations differ.

        :raises StoreError: a record cannot be read.
        """
        return self._by_key("saves")

    def loads(self) -> dict[str, list[Load]]:
        """Return all loads by key. A key has several where runners or observations differ.

        :raises StoreError: a record cannot be read.
        """
        return self._by_key("loads")

    def attempts(self) -> dict[str, list[Attempt]]:
        """Return all attempts that produced no evidence by key, oldest first.

        :raises StoreError: a record cannot be read.
        """
        found = self._by_key("attempts")
        return {key: sorted(items, key=lambda item: item.at) for key, items in found.items()}

    def saved(self, key: str) -> list[Save]:
        """Return the saves under one key, without reading other records.

        :raises StoreError: a record cannot be read.
        """
        found = [name for name in self._list("saves") if posixpath.basename(name).startswith(key)]
        return [parse(Save, data, name) for name, data in self._contents(found)]

    def _by_key(self, folder: str) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = defaultdict(list)
        with gc_paused():
            for name, data in self._objects(folder):
                record = parse(_KINDS[folder], data, f"{self.url}/{folder}/{name}")
                if not name.startswith(record.key):
                    raise StoreError(
                        f"record {self.url}/{folder}/{name} does not match its name",
                        why="it was copied or changed by hand",
                        do="Delete it; the next run measures it again",
                    )
                found[record.key].append(record)
                self._known[f"{folder}/{name}"] = _digest(data)
        return dict(found)

    def _objects(self, folder: str) -> Iterator[tuple[str, bytes]]:
        names = [name for name in self._list(folder) if name.endswith(".json")]
        for full, data in self._contents(names):
            yield posixpath.basename(full), data

    def _list(self, folder: str) -> list[str]:
        """Return the current full names of the objects in a folder, sorted."""
        with self._store_errors(), contextlib.suppress(FileNotFoundError):
            self._fs.invalidate_cache()
            return sorted(self._fs.ls(self._path(folder), detail=False))
        return []

    def _contents(self, names: list[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the bytes of each object; remote ones are read concurrently."""
        for chunk in (names[i : i + _AT_ONCE] for i in range(0, len(names), _AT_ONCE)):
            with self._store_errors():
                if self._local:
                    found = {name: _bytes(name) for name in chunk}
                else:
                    found = self._fs.cat(chunk)
            yield from found.items()

    def _read(self, full: str) -> bytes | None:
        """Return the bytes of an object; None where there is none."""
        with self._store_errors(), contextlib.suppress(FileNotFoundError):
            data: bytes = Path(full).read_bytes() if self._local else self._fs.cat_file(full)
            return data
        return None


def _manifest_name(manifest: Manifest) -> str:
    return f"shards/{manifest.shard}-of-{manifest.of}-{manifest.split[:16]}.json"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _content(digests: Mapping[str, str]) -> str:
    lines = (f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return _digest("".join(lines).encode())


def _bytes(name: str) -> bytes:
    with open(name, "rb") as stream:  # noqa: PTH123  # of 10^5 objects, a Path costs as much
        return stream.read()


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def parse(kind: type[Any], data: bytes | str, place: str) -> Any:
    """Return a record from its JSON.

    :param kind: the type of the record.
    :param place: file and line, or URL, for the error message.
    :raises StoreError: the data is not such a record, or has a newer format.
    """
    try:
        record = kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StoreError(
            f"record {place} cannot be read: {where} {first['msg']}".replace(":  ", ": "),
            why="it is torn, or was not written by this program",
            do="Delete it; the next run measures it again",
        ) from error
    if getattr(record, "format", FORMAT) > FORMAT:
        raise StoreError(
            f"record {place} has format {record.format}; this program reads up to {FORMAT}",
            do="Use the version of te-matrix that wrote it, or a newer one",
        )
    return record
