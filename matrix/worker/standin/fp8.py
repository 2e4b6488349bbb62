"""The arithmetic of FP8 casts on the CPU, with PyTorch's float8 types."""

import torch

_TYPES = {"kFloat8E4M3": torch.float8_e4m3fn, "kFloat8E5M2": torch.float8_e5m2}
NAMES = frozenset(_TYPES)
"""Names of the FP8 types among the members of ``DType``."""


def torch_type(name: str) -> torch.dtype:
    """Return the PyTorch type of an FP8 ``DType``.

    :param name: name of the ``DType``.
    :raises KeyError: it is no FP8 type.
    """
    return _TYPES[name]


def quantize(src: torch.Tensor, scale: torch.Tensor, name: str) -> torch.Tensor:
    """Cast ``src`` to FP8 after multiplying by ``scale``, saturating.

    :param src: any floating type, any shape.
    :param scale: float32, one element.
    :param name: name of the FP8 ``DType``.
    :returns: uint8, the shape of ``src``, holding the FP8 bytes.
    """
    kind = torch_type(name)
    limit = torch.finfo(kind).max
    scaled = src.detach().float() * scale.detach().float().reshape(())
    return scaled.clamp(-limit, limit).to(kind).view(torch.uint8)


def dequantize(
    data: torch.Tensor, scale_inv: torch.Tensor, name: str, dtype: torch.dtype
) -> torch.Tensor:
    """Undo :func:`quantize`: uint8 FP8 bytes times ``scale_inv``, as ``dtype``."""
    values = data.detach().view(torch_type(name)).float()
    return (values * scale_inv.detach().float().reshape(())).to(dtype)


def note_amax(src: torch.Tensor, amax: torch.Tensor) -> None:
    """Update ``amax`` (float32, one element) in place with the largest magnitude in ``src``."""
    with torch.no_grad():
        amax.copy_(torch.maximum(amax, src.detach().abs().max().float().reshape(amax.shape)))


def update_amax_and_scale(
    history: torch.Tensor,
    scale: torch.Tensor,
    scale_inv: "torch.Tensor | None",
    amax: torch.Tensor,
    algorithm: str,
    fp8_max: float,
    margin: int,
) -> None:
    """Do one step of delayed scaling in place.

    It follows the kernels in ``transformer_engine/common/recipe/delayed_scaling.cu``: take the
    largest (or most recent) amax, roll the history by one row, clear row 0, and compute the
    scale.

    :param history: float32, (amax_history_len, slots).
    :param scale: float32, (slots,).
    :param scale_inv: of the same shape, or None if the release has none.
    :param amax: float32, (slots,): row 0 of the history after the reduction.
    :param algorithm: "max" or "most_recent".
    :param fp8_max: largest finite value of the FP8 type.
    :param margin: exponent of the power of two that the scale is divided by.
    """
    with torch.no_grad():
        history[0].copy_(amax)
        largest = history.max(dim=0).values if algorithm == "max" else history[0].clone()
        history.copy_(torch.roll(history, -1, 0))
        history[0].zero_()
        fresh = fp8_max / largest / (2.0**margin)
        usable = (largest > 0) & torch.isfinite(largest) & torch.isfinite(fresh)
        scale.copy_(torch.where(usable, fresh, scale))
        if scale_inv is not None:
            scale_inv.copy_(1.0 / scale)
