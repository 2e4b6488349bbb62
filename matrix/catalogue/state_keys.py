"""Names in the keys of a Transformer Engine module's state dict."""

EXTRA_STATE = "_extra_state"
"""Last part of the key under which a module saves its FP8 metadata."""


def state_key(path: str) -> str:
    """Return the key of the extra state of the module at a path; the root's path is empty."""
    return f"{path}.{EXTRA_STATE}" if path else EXTRA_STATE


CORE_ATTENTION = "core_attention"
"""The submodule of ``MultiheadAttention`` that computes attention, with FP8 from 1.6 on."""
