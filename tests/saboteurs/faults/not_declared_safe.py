"""The classes of quantized weights are not declared safe to unpickle."""

import torch

torch.serialization.clear_safe_globals()
