"""Quantized weights in the form that a release pickles and reads.

Data and scales stay where they are in the file: only the pickle changes, so that they are copied
byte for byte as those of all tensors are.
"""

from __future__ import annotations

import functools

from matrix.catalogue import weights as table
from matrix.catalogue.weights import DTYPE, WeightForm
from matrix.checkpoint.errors import Malformed
from matrix.checkpoint.nodes import Call, Global, Guarded, Node
from matrix.checkpoint.quantized import enumerations, quantizers
from matrix.checkpoint.quantized.quantizers import Scalars
from matrix.checkpoint.quantized.weights import QuantizedWeight

_PYTHON3_NAMES = 3  # the first pickle protocol in which builtins have the name of Python 3


class Writer:
    """Writes weights in the form of one release.

    :param version: the release.
    :param protocol: the protocol of the pickle that they are written in.
    :param scalars: converts numbers that some releases pickle as tensors.
    """

    def __init__(self, version: str, protocol: int, scalars: Scalars) -> None:
        self._version = version
        self._forms = table.load().of_release(version)
        self._protocol = protocol
        self._scalars = scalars
        # Pickles of a release share the members of an enumeration, so the new ones do.
        self._enumerated = functools.cache(self._encode)

    def write(self, weight: QuantizedWeight) -> None:
        """Change the call that rebuilds a weight, in place: others may refer to it.

        :raises Malformed: the release has no form for it, or cannot read its own.
        """
        form = self._form(weight)
        self._check_shape(weight, form)
        quantizers.check_left_out(weight.values, {*form.arguments, "shape"}, weight.weight)
        arguments = tuple(self._argument(name, weight) for name in form.arguments)
        weight.call.function = self._function(form)
        weight.call.arguments = arguments

    def _form(self, weight: QuantizedWeight) -> WeightForm:
        form = self._forms.get(weight.weight)
        if form is None:
            raise Malformed(f"{self._version} has no {weight.weight}")
        why = table.load().why_unreadable(weight.weight, self._version)
        if why is not None:
            raise Malformed(f"{self._version} cannot load a {weight.weight}: {why}")
        # The only copy must be one that the form has a place for.
        if not any(name in form.arguments for name in weight.tensors if "data" in name):
            raise Malformed(f"it holds nothing but {', '.join(weight.tensors)}")
        return form

    def _check_shape(self, weight: QuantizedWeight, form: WeightForm) -> None:
        data = weight.tensors.get("data") or weight.tensors.get("rowwise_data")
        if "shape" not in form.arguments and (data is None or data.shape != weight.shape):
            raise Malformed(f"its shape {weight.shape} is not that of its data")

    def _function(self, form: WeightForm) -> Node:
        owner = Global(*form.function.rsplit(".", 1))
        if form.method is None:
            return owner
        builtins = "builtins" if self._protocol >= _PYTHON3_NAMES else "__builtin__"
        return Call("REDUCE", Guarded(builtins, "getattr"), (owner, form.method))

    def _argument(self, name: str, weight: QuantizedWeight) -> Node:
        if name == DTYPE:
            return self._enumerated(DTYPE, weight.fp_dtype)
        if name == "data_format":
            return self._enumerated(name, weight.data_format)
        if name == "shape":
            return Call("REDUCE", Global("torch", "Size"), (weight.shape,))
        if name == "quantizer":
            return self._quantizer(weight)
        return quantizers.value_of(name, weight.values)

    def _encode(self, value: str, member: str) -> Node:
        row = table.load().enumeration(value, self._version)
        if row is None:
            raise Malformed(f"{self._version} pickles no {value}")
        return enumerations.encode(member, row)

    def _quantizer(self, weight: QuantizedWeight) -> Node:
        form = table.load().quantizer(weight.weight, self._version)
        if form is None:
            raise Malformed(f"{self._version} pickles no quantizer of a {weight.weight}")
        dtype = self._enumerated(DTYPE, weight.fp_dtype)
        return quantizers.convert(weight, form, dtype, self._scalars)
