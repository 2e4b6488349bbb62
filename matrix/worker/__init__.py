"""The worker: the one program that runs Transformer Engine.

A directory of its own. It needs the standard library, torch and the release
under test, nothing of the harness, and parses on Python 3.8. It speaks JSON
Lines (``protocol.py``):

``python worker forkserver FD``
    a fork server: imports torch and third-party packages once, then forks one
    release process for every socket it is handed;
``python worker serve``
    one release process on its own standard input and output, for containers.
"""

PROTOCOL = 1
"""Version of the protocol; both ends refuse another."""
