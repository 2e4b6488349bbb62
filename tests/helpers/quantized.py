"""Saves of real releases with quantized weights, one for each form that they are pickled in.

``quantized-saves/RECIPE-RELEASE.pt.gz``: a Linear of 64 x 64 under ``fp8_model_init``, saved by
the release's own code in the cpu lane.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from matrix.checkpoint import torch_writing, torchfile
from matrix.checkpoint.added import AddedStorages
from matrix.checkpoint.copying import CHUNK, Content, Output, Piece
from matrix.checkpoint.nodes import Call, Global, Map, Node
from matrix.checkpoint.objects import tensor
from matrix.checkpoint.quantized import weights
from matrix.checkpoint.quantized.weights import QuantizedWeight
from matrix.checkpoint.torchfile import TorchFile

FOLDER = Path(__file__).parent / "quantized-saves"
CLASSES = {
    "delayed-scaling": "Float8Tensor",
    "mxfp8": "MXFP8Tensor",
    "block-scaling": "Float8BlockwiseQTensor",
    "nvfp4": "NVFP4Tensor",
}
PLAIN = "1.0"
"""The release of the only save that holds plain weights."""


def saves() -> list[tuple[str, str]]:
    """(recipe, release) of every save, plain ones left out."""
    stems = (path.name.removesuffix(".pt.gz").rpartition("-") for path in FOLDER.iterdir())
    return sorted((recipe, release) for recipe, _dash, release in stems if release != PLAIN)


def releases(recipe: str) -> list[str]:
    """The releases of the saves under a recipe."""
    return [release for name, release in saves() if name == recipe]


def data(recipe: str, release: str) -> bytes:
    """The file of a save."""
    return gzip.decompress((FOLDER / f"{recipe}-{release}.pt.gz").read_bytes())


def source(recipe: str, release: str) -> TorchFile:
    """The file of a save, parsed."""
    return torchfile.of_bytes(data(recipe, release))


def weight(file: TorchFile, savers: Collection[str] = ()) -> QuantizedWeight:
    """The only quantized weight of a file."""
    (call,), numbering = weights.search(file.root, savers)
    return weights.read(call, numbering)


def text(node: Node) -> str:
    """Everything that a pickle says of a value, except for what is in its tensors."""
    found = tensor(node)
    if found is not None:
        return f"{found.dtype}{list(found.shape)}"
    match node:
        case Call(how, function, arguments, keywords, state, items, pairs):
            parts = (function, arguments, keywords, state, items, Map(pairs))
            return f"{how}({', '.join(map(text, parts))})"
        case Global():
            return str(node)
        case Map(pairs):
            return f"{{{', '.join(f'{text(key)}: {text(value)}' for key, value in pairs)}}}"
        case tuple() | list():
            return f"[{', '.join(map(text, node))}]"
    return repr(node)


SIDE = 8192
"""Rows and columns of the weights of large files."""


def _shapes(recipe: str, side: int) -> dict[str, tuple[int, int]]:
    """Shapes of data and scales of a square weight."""
    blocks = (side // 128, side // 128)
    by_rows = {"mxfp8": (side, side // 32), "block-scaling": blocks}
    by_columns = {"mxfp8": (side // 32, side), "block-scaling": blocks}
    found = dict.fromkeys(("data", "rowwise_data", "columnwise_data"), (side, side))
    if recipe in by_rows:
        found["rowwise_scale_inv"] = by_rows[recipe]
        found["columnwise_scale_inv"] = by_columns[recipe]
    return found


def large(path: Path, recipe: str, release: str, count: int, side: int = SIDE) -> Path:
    """Write a file with weights of ``side`` x ``side`` beside that of a save, of random data."""
    file = source(recipe, release)
    own = weight(file)
    added = AddedStorages(file)
    for number in range(count):
        values = dict(zip(own.forms[0].arguments, own.call.arguments, strict=True))
        values["shape"] = Call("REDUCE", Global("torch", "Size"), ((side, side),))
        for name, shape in _shapes(recipe, side).items():
            if name in values:
                values[name] = _random(added, own.tensors[name].dtype, shape)
        call = Call(own.call.how, own.call.function, tuple(values.values()))
        file.root.pairs.append((f"{number}.weight", call))
    with path.open("w+b") as out:
        torch_writing._write_root(file, file.root, added.storages, Output(out))
    return path


def _random(added: AddedStorages, dtype: str, shape: tuple[int, ...]) -> Call:
    itemsize = 4 if dtype == "float32" else 1
    size = shape[0] * shape[1] * itemsize
    block = os.urandom(CHUNK)

    def fill(memory: memoryview) -> None:
        memory[:] = block[: len(memory)]

    def pieces() -> Iterator[Piece]:
        for start in range(0, size, CHUNK):
            length = min(CHUNK, size - start)
            yield Piece(length, fill)

    return added.add(dtype, shape, Content(size, itemsize, pieces))
