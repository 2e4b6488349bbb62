"""Quantized weights in a checkpoint's inert values: class, data, scales, types, shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from matrix.catalogue import weights as table
from matrix.catalogue.weights import DTYPE, WeightForm
from matrix.checkpoint import names, nodes, objects
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.nodes import Call, Global, Node
from matrix.checkpoint.objects import TensorRef
from matrix.checkpoint.quantized.enumerations import Numbering

DATA = ("data", "rowwise_data", "columnwise_data", "data_transpose")
_SCALES = ("scale_inv", "rowwise_scale_inv", "columnwise_scale_inv")
_AMAXES = ("amax_rowwise", "amax_columnwise")
_TENSORS = (*DATA, *_SCALES, *_AMAXES)
_FLAGS = ("is_2D_scaled", "with_gemm_swizzled_scales", "row_scaled_nvfp4", "nvfp4_use_4over6")
FLOATS = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}
"""The types that weights can have to PyTorch, with the bytes of an element."""


@dataclasses.dataclass(frozen=True)
class QuantizedWeight:
    """One quantized weight, as its pickle describes it; nothing of its data is read."""

    weight: str
    """Name of its class, e.g. ``Float8Tensor``."""
    call: Call
    """The call in the pickle that rebuilds it."""
    forms: tuple[WeightForm, ...]
    """The forms of releases that it may be in, which have the same arguments."""
    values: Mapping[str, Node]
    """The arguments, by the names of ``weights.toml``."""
    tensors: Mapping[str, TensorRef]
    """Those that are tensors: data, scales and amaxes, of each copy."""
    fp_dtype: str
    """Element type of the data: name of a member of ``DType``, such as ``kFloat8E4M3``."""
    dtype: str
    """The type that the tensor has to PyTorch, such as ``bfloat16``."""
    shape: tuple[int, ...]

    @property
    def usages(self) -> tuple[str, ...]:
        """Which copies it holds: ``rowwise``, ``columnwise``."""
        held = self.tensors
        rows = "data" in held or "rowwise_data" in held
        columns = "columnwise_data" in held or "data_transpose" in held
        return ("rowwise",) * rows + ("columnwise",) * columns

    @property
    def size(self) -> int:
        """Bytes of data, scales and amaxes."""
        return sum(tensor.count * tensor.itemsize for tensor in self.tensors.values())

    @property
    def data_format(self) -> str:
        """Layout of block-scaled data: a member of ``Float8BlockScaleTensorFormat``."""
        return str(self.values.get("data_format", table.load().defaults["data_format"].value))

    @property
    def called(self) -> str:
        """Full name of what the pickle calls."""
        return self.forms[0].called


def is_looked_up(names_: Collection[str]) -> bool:
    """Return whether any of the names that pickles looked up can belong to a quantized weight."""
    known = table.load()
    functions = {form.function for form in known.forms} | known.kept.keys()
    return not functions.isdisjoint(names_)


def search(root: Node, savers: Collection[str] = ()) -> tuple[list[Call], Numbering]:
    """Return the calls in a value that rebuild quantized weights, each once.

    :param savers: versions of the releases that can have saved it; empty: all.
    :returns: the calls, and what tells their enumerations.
    """
    functions = {form.called for form in table.load().forms} | table.load().kept.keys()
    numbering = Numbering(savers)
    found = []
    for node in nodes.every(root):
        if isinstance(node, Call):
            numbering.note(node)
            called = names.te_class(node)
            if called is not None and str(called) in functions:
                found.append(node)
    return found, numbering


def kept(call: Call) -> str | None:
    """Return the releases that have a class of weights that is only kept as it is, or None."""
    return table.load().kept.get(str(names.te_class(call)))


def read(call: Call, numbering: Numbering) -> QuantizedWeight:
    """Return the weight that a call rebuilds.

    :raises Malformed: it has not the arguments that a release gives it.
    """
    name = str(names.te_class(call))
    arguments = call.arguments if isinstance(call.arguments, tuple) else ()
    forms = table.load().called(name, len(arguments))
    if not forms or call.keywords is not None or call.state or call.items or call.pairs:
        raise Malformed(f"{name} with {len(arguments)} arguments, as no release calls it")
    values = dict(zip(forms[0].arguments, arguments, strict=True))
    _check_flags(values)
    dtype = numbering.member(DTYPE, values[DTYPE], _ranges(forms))
    forms = _of(forms, dtype.releases)
    if "data_format" in values:
        layout = numbering.member("data_format", values["data_format"], _ranges(forms))
        forms = _of(forms, layout.releases)
        values["data_format"] = layout.name
    tensors = {part: _tensor(part, values[part]) for part in _TENSORS if part in values}
    found = {part: tensor for part, tensor in tensors.items() if tensor is not None}
    return QuantizedWeight(
        weight=forms[0].weight,
        call=call,
        forms=tuple(forms),
        values=values,
        tensors=_complete(found),
        fp_dtype=dtype.name,
        dtype=_nominal(values["dtype"]),
        shape=_shape(values, found),
    )


def _tensor(part: str, node: Node) -> TensorRef | None:
    if node is None:
        return None
    found = objects.tensor(node)
    if found is None or not found.contiguous or isinstance(found.storage, bytes):
        raise Malformed(f"its {part} is a {objects.describe(node)}, no tensor in one piece")
    wanted = ("uint8",) if part in DATA else ("float32", "uint8")
    if found.dtype not in wanted:
        raise Malformed(f"its {part} has elements of {found.dtype}, not of {' or '.join(wanted)}")
    return found


def _complete(tensors: dict[str, TensorRef]) -> dict[str, TensorRef]:
    """Check that every copy has its scales.

    :raises Malformed: one has not, or there is no copy at all.
    """
    for data, scale in (*zip(DATA[:3], _SCALES, strict=True), ("data_transpose", "scale_inv")):
        if data in tensors and scale not in tensors:
            raise Malformed(f"it has {data}, and no {scale}")
    if not any(data in tensors for data in DATA):
        raise Malformed("it has no data")
    return tensors


def _ranges(forms: Sequence[WeightForm]) -> tuple[str, ...]:
    return tuple(form.releases for form in forms)


def _of(forms: list[WeightForm], releases: Collection[str]) -> list[WeightForm]:
    """Return the forms of which some release is in one of the ranges."""
    return [f for f in forms if any(table.overlap(f.releases, ranges) for ranges in releases)]


def _check_flags(values: Mapping[str, Node]) -> None:
    for name in _FLAGS:
        if not isinstance(values.get(name, False), bool):
            raise Malformed(f"its {name} is a {objects.describe(values[name])}")


def _nominal(node: Node) -> str:
    if isinstance(node, Global) and node.module == "torch" and node.name in FLOATS:
        return node.name
    raise Malformed(f"its dtype is a {objects.describe(node)}, no floating type of PyTorch")


def _shape(values: Mapping[str, Node], tensors: Mapping[str, TensorRef]) -> tuple[int, ...]:
    """Return the shape of the weight; that of its data where the pickle does not give it."""
    if "shape" not in values:
        data = tensors.get("data") or tensors.get("rowwise_data")
        if data is None:
            raise Malformed("it has neither a shape nor data by rows")
        return data.shape
    node = values["shape"]
    if isinstance(node, Call) and node.calls("torch.Size") and isinstance(node.arguments, tuple):
        node = node.arguments[0] if len(node.arguments) == 1 else None
    if isinstance(node, (tuple, list)) and all(isinstance(extent, int) for extent in node):
        return tuple(node)
    raise Malformed(f"its shape is a {objects.describe(values['shape'])}")
