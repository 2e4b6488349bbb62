"""Writing one checkpoint file anew: its extra states edited, everything else as it was.

Tensors are copied byte for byte. The pickle is written from the inert tree, and read back
and compared before it counts.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from matrix.checkpoint import emit, forms, legacy, nodes, pickles, states, torchfile
from matrix.checkpoint.forms import Edit, Form
from matrix.checkpoint.limits import CheckpointError, Malformed
from matrix.checkpoint.nodes import Call, Global, Node
from matrix.checkpoint.scan import mappings, scan
from matrix.checkpoint.torchfile import TorchFile
from matrix.checkpoint.zips import Zip

CHUNK = 1 << 20
_ALIGNMENT = 64  # of a storage in a torch.save file, so that it can be mapped
_LOCAL_HEADER = 30
_ZIP64_EXTRA = 20
_ZIP64_FROM = 0x7FFF_0000

Edits = Mapping[tuple[str, str], Edit]
"""By (inside, key)."""

Copied = Callable[[int], None]
"""Is told how many bytes have been copied."""


def by_place(edits: Iterable[Edit], file: str) -> Edits:
    """Return the edits of one file, as :func:`write` takes them."""
    return {(e.state.inside, e.state.key): e for e in edits if e.state.file == file}


def write(source: TorchFile, edits: Edits, out: BinaryIO, copied: Copied) -> None:
    """Write a ``torch.save`` file with edits applied. ``source.root`` is used up.

    :raises CheckpointError: the file cannot be written again faithfully.
    """
    added = _Added(source)
    for inside, pairs in list(mappings(source.root)):
        pairs[:] = _edited(inside, pairs, edits, added)
    write_root(source, source.root, added.storages, out, copied)


def rewrite(path: Path, new: Path, form: Form) -> None:
    """Rewrite a ``torch.save`` file into a form, with nothing checked but what it reads back.

    :raises CheckpointError: it cannot be rewritten.
    """
    edits = forms.plan(scan(path).states, form)
    with path.open("rb") as stream, new.open("wb") as out:
        write(torchfile.read(stream), by_place(edits, path.name), out, lambda _size: None)


def write_root(
    source: TorchFile, root: Node, added: Mapping[str, bytes], out: BinaryIO, copied: Copied
) -> None:
    """Write a ``torch.save`` file that holds ``root``, its storages and some more.

    :param added: the contents of further storages, by key.
    """
    pickle = faithful(root, source.protocol)
    if source.archive is not None:
        _write_zip(source, root, pickle, added, out, copied)
    elif source.kind == "torch.save (legacy)":
        _write_legacy(source, root, pickle, added, out, copied)
    else:
        raise CheckpointError(
            "a plain pickle is not rewritten",
            why="torch.save did not write it",
            do="Save the state with torch.save",
        )


class _Added:
    """Storages that a rewritten file has beyond those it had."""

    def __init__(self, source: TorchFile) -> None:
        self._legacy = source.archive is None
        self._next = 1 + max((int(key) for key in keys(source.root) if key.isdecimal()), default=0)
        self.storages: dict[str, bytes] = {}

    def byte_tensor(self, data: bytes) -> Call:
        """Return a byte tensor on a new storage."""
        key = str(self._next)
        self._next += 1
        self.storages[key] = data
        storage = legacy.storage_id("uint8", key, len(data), legacy=self._legacy)
        return forms.tensor_call(storage, (len(data),))


def _edited(
    inside: str, pairs: list[tuple[Node, Node]], edits: Edits, added: _Added
) -> list[tuple[Node, Node]]:
    kept = []
    for key, value in pairs:
        edit = edits.get((inside, key)) if states.is_state(key) else None
        if edit is None:
            kept.append((key, value))
        elif edit.new_key is not None:
            new = value if edit.payload is None else added.byte_tensor(edit.payload)
            kept.append((edit.new_key, new))
    return kept


def byte_tensor_file(data: bytes, source: TorchFile, out: BinaryIO) -> None:
    """Write a file like ``source`` that holds one byte tensor and nothing else."""
    added = _Added(source)
    root = added.byte_tensor(data)
    write_root(source, root, added.storages, out, lambda _size: None)


def keys(root: Node) -> set[str]:
    """Return the keys of the storages that a pickle names."""
    found = set()
    for node in nodes.every(root):
        if isinstance(node, nodes.Persistent):
            match node.id:
                case ("storage", Global(), str() as key, *_):
                    found.add(key)
    return found


def faithful(root: Node, protocol: int) -> bytes:
    """Return a pickle of ``root`` that is known to read back as ``root``.

    :raises CheckpointError: it does not.
    """
    try:
        written = emit.emit(root, protocol)
        same = nodes.same(pickles.read(written).root, root)
    except Malformed as error:
        raise CheckpointError(
            f"the checkpoint's pickle cannot be written again: {error}",
            do="Inspect it; rewrite it in memory with the release that saved it",
        ) from error
    if not same:
        raise CheckpointError("the checkpoint's pickle does not survive being written again")
    return written


# The zip format.


def _write_zip(
    source: TorchFile,
    root: Node,
    pickle: bytes,
    added: Mapping[str, bytes],
    out: BinaryIO,
    copied: Copied,
) -> None:
    assert source.archive is not None
    wanted, prefix = keys(root), source.prefix
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for info in source.archive.archive.infolist():
            inner = info.filename.removeprefix(prefix)
            if inner == "data.pkl":
                _add(archive, out, info.filename, [pickle], len(pickle))
            elif not inner.startswith("data/") or inner.removeprefix("data/") in wanted:
                chunks = _chunks(source.archive, info.filename, copied)
                _add(archive, out, info.filename, chunks, info.file_size)
        for key, data in added.items():
            _add(archive, out, f"{prefix}data/{key}", [data], len(data))


def _add(
    archive: zipfile.ZipFile, out: BinaryIO, name: str, chunks: Iterable[bytes], size: int
) -> None:
    """Add an entry whose data begins at a multiple of the alignment."""
    info = zipfile.ZipInfo(name)
    large = size >= _ZIP64_FROM
    place = out.seek(0, 2) + _LOCAL_HEADER + len(name.encode()) + 4 + _ZIP64_EXTRA * large
    padding = -place % _ALIGNMENT
    info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
    info.file_size = size
    with archive.open(info, "w", force_zip64=large) as entry:
        for chunk in chunks:
            entry.write(chunk)


def _chunks(archive: Zip, name: str, copied: Copied) -> Iterator[bytes]:
    for chunk in archive.chunks(name, CHUNK):
        copied(len(chunk))
        yield chunk


# The legacy format.


def _write_legacy(
    source: TorchFile,
    root: Node,
    pickle: bytes,
    added: Mapping[str, bytes],
    out: BinaryIO,
    copied: Copied,
) -> None:
    wanted = keys(root)
    kept = [key for key in source.storages if key in wanted]
    source.stream.seek(0)
    out.write(source.stream.read(source.preamble))
    out.write(pickle + emit.emit([*kept, *added], 2))
    for key in kept:
        place, size = source.storages[key]
        source.stream.seek(place - legacy.COUNT.size)
        out.write(source.stream.read(legacy.COUNT.size))
        copy_range(source.stream, out, size, copied)
    for data in added.values():
        out.write(legacy.COUNT.pack(len(data)) + data)


def copy_range(source: BinaryIO, out: BinaryIO, size: int, copied: Copied) -> None:
    """Copy ``size`` bytes from where one file stands to where another does.

    :raises CheckpointError: there are fewer.
    """
    while size:
        chunk = source.read(min(CHUNK, size))
        if not chunk:
            raise CheckpointError("the checkpoint ended while it was copied")
        out.write(chunk)
        copied(len(chunk))
        size -= len(chunk)
