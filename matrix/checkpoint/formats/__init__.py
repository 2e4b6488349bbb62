"""The formats that the files of a checkpoint come in, each behind :class:`base.Format`.

base: what a format can do: recognise a file, read it, write it with edited states
torch_save: files of torch.save
state_shard: files of torch.save that hold one extra state each
safetensors: safetensors files
distributed: the index of PyTorch's distributed checkpoints, and the states that it points to
"""
