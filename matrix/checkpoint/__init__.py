"""Checkpoint files, read, edited and written without executing anything in them.

No release is involved here: the room below says what a file holds, ``doctor`` what it means.

layout: the files of a checkpoint and their formats, found once and handed on
formats/: one module per file format, each behind the protocol ``Format``
file_kinds: what a file is that is no checkpoint
contents: what a checkpoint holds apart from its weights
completeness: missing ranks, shards and files in a folder

states: FP8 extra states, decoded; metadata has their tensors, casts undoes casts of their bytes
kinds: what an extra state is, and the modules that it can be of; norms has those without one,
    siblings others that lack the state which modules like them have
edits: what rewriting changes in each extra state; dropping has those that are given up by name
encoding: extra states as pickles in the form that a release reads; operations has the modes of
    those of operations, copies writes states as they are
quantized/: quantized weights, read, written in another release's form, dequantized
rewriting: a checkpoint written anew, and checked
in_memory: state dicts in memory, as the same inert values; in_memory_edits applies edits to them
publish: new files and folders that appear whole or not at all
copying: bytes copied or made by threads, written, and read back; spans are ranges of files,
    checksums those of data in pieces

torchfile: files of ``torch.save``: torch_zip and torch_legacy read and write the two kinds,
    torch_writing writes one with edits
added: storages that are added to a file
pickles: pickles parsed into inert values (nodes); emit writes them back
machine: the stack machine that pickles are written for; opcodes has its opcodes
lookups: what pickles look up and call, as far as honest checkpoints do not
names: Transformer Engine's classes and functions, as a pickle calls them
objects: the tensors, buffers and dicts that inert values stand for
mappings: every mapping among them, which may be a state dict
json_objects: headers and indices in JSON, with one reading only
zips: zip archives that have one reading only; zip_writing writes them
words: enumerations of file kinds, containers, contents and rewrite steps
limits: the most that is read of a file, and the budget that sees to it
errors: the exceptions that refuse a checkpoint
"""
