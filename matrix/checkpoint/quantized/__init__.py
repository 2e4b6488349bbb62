"""Quantized weights in checkpoint files: read, written in another release's form, dequantized.

weights: a quantized weight as its pickle describes it
enumerations: members of Transformer Engine's enumerations in pickles
quantizers: quantizers in the form of another release
writing: weights in the form that a release pickles and reads
numbers: the numbers that bytes of quantized data stand for
blocks: data and scales, read in tiles
dequantizing: weights as plain tensors; vectorized converts tiles with NumPy, tables without
summary: the weights of a checkpoint, counted by kind
changes: what becomes of the weights of a checkpoint that is written anew
"""
