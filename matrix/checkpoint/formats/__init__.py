"""The file formats of checkpoints, each behind the protocol :class:`base.Format`.

base: the protocol: recognise a file, read it, write it with edited extra states
torch_save: files of torch.save
state_shard: files of torch.save that hold one extra state each
safetensors: safetensors files; safetensors_header reads what they hold
hugging_face: the index of shards that Hugging Face writes
zarr_array: arrays of Megatron-LM's zarr checkpoints
distributed: distributed checkpoints; distributed_index parses their index,
    distributed_items looks into what they hold beside extra states, distributed_weights writes
    files with quantized weights anew
"""
