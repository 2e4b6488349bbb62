"""The modules under test, and the recipes that they are trained with.

building: how each module is built
tree: a model of single modules at given places
recipes: how each recipe is built, and used
custom: quantizer factories, as a user writes them
sites: where the modules of ``transformer_engine.pytorch`` keep FP8 metadata
global_state: what a release keeps for all modules together
operations: where those of ``transformer_engine.pytorch.ops`` do
"""
