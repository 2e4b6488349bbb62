"""The worker: the one program that runs Transformer Engine.

The directory works on its own: it needs the standard library, torch and the release under
test, nothing else of the harness, and Python 3.8 or newer. Its sub-commands:

``python worker forkserver FD``
    a fork server: imports torch and third-party packages once, then forks one release process
    for every socket that it receives;
``python worker serve``
    one release process on standard input and output, for containers;
``python worker device``
    prints a description of the GPU.

Modules:

__main__: the sub-commands
protocol: JSON Lines over a byte stream
forkserver: the fork server
release: one release process: imports a release and answers requests
loading_process, process_state: a process for several loads, and what it puts back after each
exports: the modules and recipes that a release has
forking: what a process does before it forks
warming: first-use preparations of PyTorch, made once
container_cleanup: removes what a save or load leaves behind in a container
device: the description of the GPU
cell: the operations that requests name: enter, save, load
model: the model under test, and which of its parts take FP8 steps
modules/: how modules and recipes are built, and where they keep FP8 metadata
lanes: what a lane does before a scenario
transport: how a state dict gets into a file and back
saving, loading: one save, one load
training: real FP8 training steps, on a GPU
canary: metadata that no default can equal
rewriting: changes to a state dict between reading and loading
digest: digests of what a checkpoint means
raising: whose an exception is, and what is reported of it
facts: what is reported of a module's metadata
gaps: the operations that the cpu lane was asked for and does not emulate
standin/: the cpu lane's replacement for hardware and compiled code
"""

PROTOCOL = 1
"""Version of the protocol; the harness refuses any other."""
