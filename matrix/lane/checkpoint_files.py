"""Checkpoints as local files that a release process can load."""

from __future__ import annotations

import tarfile
import tempfile
import threading
from collections.abc import Collection
from pathlib import Path

from matrix.catalogue import forms, weights
from matrix.catalogue.forms import Form
from matrix.catalogue.releases import Release
from matrix.catalogue.scenarios import Variant
from matrix.checkpoint.dropping import ATTENTION_STATES
from matrix.checkpoint.quantized.changes import WeightChange
from matrix.checkpoint.rewriting import rewrite_file, rewrite_folder
from matrix.errors import StoreError
from matrix.store import recorded
from matrix.store.records import Save
from matrix.store.store import Store
from matrix.system.unpacking import unpack


class CheckpointFiles:
    """Copies checkpoints from the store into a folder, each once. Safe to share by threads.

    :param folder: the folder for the files.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._lock = threading.Lock()

    def get(self, save: Save, digest: str) -> Path:
        """Return the path of one of a save's files, after checking its digest.

        :param digest: SHA-256 of the checkpoint or of the output.
        :raises StoreError: it is neither in the store nor in the recorded evidence.
        """
        path = self._folder / f"{digest}.pt"
        with self._lock:
            if path.exists():
                return path
            data = self._store.checkpoint(digest)
            if data is None:
                data = recorded.checkpoint(save.lane, digest)
            if data is None:
                raise StoreError(
                    f"checkpoint {digest[:12]} of {save.release} is nowhere",
                    why="its record is here, its file is not",
                    do="Delete the record and run again",
                )
            path.write_bytes(data)
        return path

    def rewritten(self, checkpoint: Path, variant: Variant, save: Save, loader: Release) -> Path:
        """Return the path of a checkpoint that was rewritten as a variant says.

        :param save: the save that it is the file of.
        :param loader: the release that will load it.
        :raises CheckpointError: it cannot be rewritten.
        """
        with self._lock:
            return rewritten(checkpoint, variant, save.release, loader)


def rewritten(checkpoint: Path, variant: Variant, saver: str, loader: Release) -> Path:
    """Return the path of a checkpoint that was rewritten as a variant says, beside the original.

    :param saver: the release that saved it.
    :param loader: the release that will load it; releases that read the same forms share the file.
    :raises CheckpointError: it cannot be rewritten.
    """
    form = forms.of_variant(str(variant.form), loader.version)
    into = loader.version if variant.weights == "form" else None
    change = None
    if variant.weights is not None:
        dtype = variant.weights if into is None else ""
        change = WeightChange(into=into, dtype=dtype, savers=(saver,))
    shared = weights.load().forms_of_release(loader.version) if into else variant.weights
    drop = (ATTENTION_STATES,) if variant.drops_attention(form) else ()
    path = checkpoint.with_suffix(f".{form.name}.{shared}{'.dropped' * bool(drop)}.pt")
    if not path.exists():
        if variant.distributed:
            _rewrite_archive(checkpoint, path, form, drop)
        else:
            rewrite_file(checkpoint, path, form, change, drop)
    return path


def _rewrite_archive(checkpoint: Path, path: Path, form: Form, drop: Collection[str]) -> None:
    """Rewrite a distributed checkpoint, of which the worker makes one tar archive."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        old, new = Path(folder) / "old", Path(folder) / "new"
        with tarfile.open(checkpoint) as archive:
            unpack(archive, old)
        rewrite_folder(old, new, form, drop)
        with tarfile.open(path, "w") as archive:
            archive.add(new, arcname=".")
