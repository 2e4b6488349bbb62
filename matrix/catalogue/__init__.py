"""Releases, scenarios, variants and the FAQ: everything that a command line can select.

releases: the known releases, their order, and where the code of each is obtained
features: the modules and recipes that releases have
faq: the bands and rules that the FAQ documents
scenarios: how a checkpoint is made (scenarios) and how it is loaded (variants)
ways: what a user can do to make a checkpoint load, the least intrusive first
changes: changes of behaviour between releases, and the commits that made them
forms: the forms that releases read FP8 extra states in
weights: how releases pickle quantized weights
file_kinds: kinds of files that are taken for checkpoints and are none
pickled_names: classes and functions that the pickles of honest checkpoints name
selection: the releases, scenarios and variants that options select
ranges: closed ranges of versions as text, read and written
words: enumerations of the closed vocabularies, such as outcomes and verdicts
state_keys: names in the keys of a Transformer Engine state dict
tables: TOML files, read strictly
data/: the tables themselves
"""
