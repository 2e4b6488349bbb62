"""Names in the keys of a Transformer Engine module's state dict."""

EXTRA_STATE = "_extra_state"
"""Last part of the key under which a module saves its FP8 metadata."""


def state_key(path: str) -> str:
    """Return the key of the extra state of the module at a path; the root's path is empty."""
    return f"{path}.{EXTRA_STATE}" if path else EXTRA_STATE


CORE_ATTENTION = "core_attention"
"""The submodule of ``MultiheadAttention`` that computes attention, with FP8 from 1.6 on."""

WRAPPERS = frozenset(
    {
        "module",
        "_orig_mod",
        "_checkpoint_wrapped_module",
        "_fsdp_wrapped_module",
        "_fpw_module",
    }
)
"""Submodules that PyTorch's wrappers put between the names of a model's own modules.

``module`` of DistributedDataParallel (Megatron-LM and DeepSpeed wrap under this name, too),
``_orig_mod`` of ``torch.compile`` (``torch._dynamo.eval_frame.OptimizedModule``),
``_checkpoint_wrapped_module`` of activation checkpointing
(``torch.distributed.algorithms._checkpoint.checkpoint_wrapper``), ``_fsdp_wrapped_module`` of
FullyShardedDataParallel, below which PyTorch 1.11 and 1.12 have ``_fpw_module``.
"""
