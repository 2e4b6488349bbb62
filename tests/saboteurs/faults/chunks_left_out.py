"""A quantized weight asks for none of its chunks in a distributed checkpoint."""

from transformer_engine.pytorch.quantized_tensor import QuantizedTensor

QuantizedTensor.__create_chunk_list__ = lambda self: []
