"""The file formats of checkpoints, each behind the protocol :class:`base.Format`.

base: the protocol: recognise a file, read it, write it with edited extra states
torch_save: files of torch.save
state_shard: files of torch.save that hold one extra state each
safetensors: safetensors files
distributed: distributed checkpoints; distributed_index parses their index,
    distributed_items looks into what they hold beside extra states
"""
