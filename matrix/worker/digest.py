"""Digests of what a checkpoint means, not of the bytes of its file.

The pickle of the same state differs between PyTorch and Python versions; keys,
kinds, dtypes, shapes and values do not.
"""

import collections
import enum
import hashlib
import io
import pickle
import re
from typing import Any, Callable, Dict, List, Mapping, Tuple

import torch

EXTRA_STATE = "_extra_state"
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+>")


def of_bytes(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def of_tensor(tensor: torch.Tensor) -> str:
    """Return the digest of a plain tensor's dtype, shape and values."""
    flat = tensor.detach().cpu().contiguous()
    head = "{}{}".format(flat.dtype, tuple(flat.shape)).encode()
    raw = flat.reshape(-1).view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return of_bytes(head + raw)


def of_state(state: Mapping[str, Any]) -> str:
    """Return the digest of a state dict: keys, kinds, dtypes, shapes and values.

    It covers what is in the file beside the entries, too, as far as that is not what PyTorch
    writes for every module: the type of the mapping, its attributes, the versions of modules.
    """
    seen = hashlib.sha256(_beside_entries(state).encode())
    for key in sorted(state):
        value = decode(state[key]) if key.endswith(EXTRA_STATE) else state[key]
        seen.update("{}={}\n".format(key, _walk(value)).encode())
    return seen.hexdigest()


_PLAIN_MAPPINGS = (dict, collections.OrderedDict)
_PLAIN_VERSION = {"version": 1}


def _beside_entries(state: Mapping[str, Any]) -> str:
    found = dict(getattr(state, "__dict__", {}))
    versions = found.pop("_metadata", {})
    others = {path: facts for path, facts in versions.items() if facts != _PLAIN_VERSION}
    if others:
        found["versions"] = others
    kind = "" if type(state) in _PLAIN_MAPPINGS else _place(type(state))
    return kind + _walk(found) if kind or found else ""


def of_entries(state: Mapping[str, Any]) -> Dict[str, str]:
    """Return a digest of each entry's bytes by key; nothing is unpickled."""
    return {key: of_bytes(_raw(value).encode()) for key, value in state.items()}


def _raw(value: Any) -> str:
    # Not the stream itself: reading it moves its position.
    return _walk(value.getvalue() if isinstance(value, io.BytesIO) else value)


def of_recipe(recipe: Any) -> str:
    """Return the digest of a recipe's class and fields."""
    return of_bytes(_walk(recipe).encode())


# What each layout of a quantized tensor is made of. NVFP4's scales are relative to an amax.
_DATA = ("_data", "_scale_inv")
_ROWWISE = ("_rowwise_data", "_rowwise_scale_inv", "_amax_rowwise")
_COLUMNWISE = ("_columnwise_data", "_columnwise_scale_inv", "_amax_columnwise")


def same_weight(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two parameters or buffers are equal; of quantized ones, data and scales.

    The column-wise copy, which is quantized apart and read by backward passes, is compared where
    both have one. Where only one of them is quantized, as in releases that save quantized weights
    in high precision, their values are compared, in the other's type.
    """
    if _is_quantized(one) and _is_quantized(other):
        return all(
            _layout(one, names) == _layout(other, names)
            for names in (_DATA, _ROWWISE, _COLUMNWISE)
            if names != _COLUMNWISE or (_layout(one, names) and _layout(other, names))
        )
    if _is_quantized(one):
        one = _dequantized(one).to(other.dtype)
    if _is_quantized(other):
        other = _dequantized(other).to(one.dtype)
    return of_tensor(one) == of_tensor(other)


def _is_quantized(value: torch.Tensor) -> bool:
    return bool(_layout(value, _DATA) or _layout(value, _ROWWISE))


def _layout(value: torch.Tensor, names: Tuple[str, ...]) -> Dict[str, str]:
    """Return the digests of what a layout is made of; nothing where its data or scales lack."""
    parts = {name: getattr(value, name, None) for name in names}
    found = {name: part for name, part in parts.items() if isinstance(part, torch.Tensor)}
    whole = set(names[:2]) <= set(found)
    return {name: of_tensor(part) for name, part in found.items()} if whole else {}


def _dequantized(value: Any) -> torch.Tensor:
    # Float8Tensor.from_float8 up to 1.14; torch.Tensor has a dequantize of its own.
    return value.from_float8() if hasattr(value, "from_float8") else value.dequantize()


def payload_kind(value: Any) -> str:
    """Return the kind of container of an extra state, e.g. "BytesIO"."""
    if isinstance(value, io.BytesIO):
        return "BytesIO"
    if isinstance(value, torch.Tensor):
        return "byte tensor" if value.numel() else "empty tensor"
    return type(value).__name__


def decode(value: Any) -> Any:
    """Return the ``kind`` of an extra state's container and the ``state`` in it.

    Of one that cannot be unpickled the digest of its bytes stands for what it holds. A state in
    no container, as a release under test may save it, is what it holds. The ``attributes`` of
    the container are there where it has any, and the ``position`` of a stream where that is not
    its end, where releases leave it: they are written to the file, too.

    It unpickles, so that it must only be called for states that were made in this process.
    """
    attributes = getattr(value, "__dict__", None)
    found = {"kind": payload_kind(value), "state": _inside(value)}
    if attributes:
        found["attributes"] = attributes
    if isinstance(value, io.BytesIO) and value.tell() != len(value.getvalue()):
        found["position"] = value.tell()
    return found


def _inside(value: Any) -> Any:
    kind = payload_kind(value)
    if kind not in ("BytesIO", "byte tensor"):
        return None if isinstance(value, torch.Tensor) else value
    data = value.getvalue() if kind == "BytesIO" else value.detach().cpu().numpy().tobytes()
    try:
        if kind == "BytesIO":
            return torch.load(io.BytesIO(data), weights_only=False)
        return pickle.loads(data)
    except Exception:
        return "not a pickle: " + of_bytes(data)


def describe(key: str, value: Any) -> Dict[str, Any]:
    """Describe an entry of a state dict.

    :returns: ``kind``, and of an extra state its ``fields``, of a tensor its ``dtype`` and
        ``shape``.
    """
    if key.endswith(EXTRA_STATE):
        inside = decode(value)["state"]
        fields = sorted(inside) if isinstance(inside, dict) else None
        return {"kind": payload_kind(value), "fields": fields}
    kind = type(value).__name__
    if not isinstance(value, torch.Tensor):
        return {"kind": kind}
    dtype = str(value.dtype).replace("torch.", "")
    return {"kind": kind, "dtype": dtype, "shape": list(value.shape)}


def _walk(value: Any) -> str:
    """Return a text that is equal for equal values."""
    for kinds, render in _RENDERERS:
        if isinstance(value, kinds):
            return render(value)
    if isinstance(value, torch.Tensor):
        return _walk_tensor(value)
    return _walk_object(value)


def _walk_mapping(value: Mapping[Any, Any]) -> str:
    items = sorted((_walk(k), _walk(v)) for k, v in value.items())
    return "{" + ",".join(k + ":" + v for k, v in items) + "}"


def _walk_sequence(value: Any) -> str:
    return "[" + ",".join(_walk(item) for item in value) + "]"


def _walk_text(value: str) -> str:
    # 1.6 and 1.7 save a key that ends in hash(None), which differs between
    # processes before Python 3.12 (FP8GlobalStateManager.get_unique_autocast_key).
    text = value.replace(str(hash(None)), "hash(None)")
    # From 2.16 on a recipe keeps its own repr (Recipe.__repr__, common/recipe/__init__.py), and
    # that of CustomRecipe has the address at which its factory was in the saving process.
    return repr(_ADDRESS.sub(" at ADDRESS>", text))


def _walk_tensor(value: torch.Tensor) -> str:
    if type(value) in (torch.Tensor, torch.nn.Parameter):
        # torch.save writes attributes too, and what they hold decides who can read the file.
        return of_tensor(value) + (_walk(vars(value)) if vars(value) else "")
    # Which releases can read a tensor subclass depends on the function that rebuilds it.
    rebuild, arguments = value.__reduce_ex__(2)[:2]
    return "{}={}{}".format(_place(type(value)), _place(rebuild), _walk(arguments))


def _walk_object(value: Any) -> str:
    if callable(value) and hasattr(value, "__qualname__"):
        return _place(value)
    if hasattr(type(value), "__members__"):
        # pybind11's enumerations, which are pickled by number and have no __dict__.
        return "{}={}".format(_place(type(value)), int(value))
    state: Any = getattr(value, "__dict__", None)
    if not state and hasattr(value, "__getstate__"):
        state = value.__getstate__()
    return "{}{}".format(_place(type(value)), _walk(state))


def _place(named: Any) -> str:
    """Return the module and qualified name by which pickle finds a class or function."""
    owner = getattr(named, "__self__", None)
    if isinstance(owner, type):
        return "{}.{}".format(_place(owner), named.__name__)
    return "{}.{}".format(named.__module__, named.__qualname__)


_RENDERERS: List[Tuple[Any, Callable[[Any], str]]] = [
    (enum.Enum, lambda value: "{}.{}".format(_place(type(value)), value.name)),
    (str, _walk_text),
    (float, lambda value: value.hex()),
    ((type(None), bool, int, bytes, torch.dtype, torch.device, torch.Size), repr),
    # Not an abstract class: what is cached of its subclasses is not kept over imports, and asking
    # it anew in every process takes a tenth of a load.
    (dict, _walk_mapping),
    ((list, tuple), _walk_sequence),
    ((set, frozenset), lambda value: "{" + ",".join(sorted(map(_walk, value))) + "}"),
]
