"""The docker runner: images built from locked bases, one locked-down container per release.

From the engine to an answer, one module a step:

==================  ============================================================
``engine.py``       the engine, found by its API, cleared of what a dead run left
``lock.py``         ``images.lock``: the base images, by tag and digest
``registry.py``     base images and their digests, from their registries
``gpu.py``          which GPU the engine gives, and whether it can do FP8 attention
``packages.py``     the cpu lane's Python packages, gathered by this machine's pip
``blueprint.py``    what an image is made of, and the tag that follows from it
``images.py``       built, listed, pruned; at most so many kept at once
``volumes.py``      files into containers, and out of them what they wrote
``cage.py``         the limits of a container, and its conversation
``host.py``         the runner: opens release processes in containers
``candidate.py``    an image under test, as one more release
==================  ============================================================
"""
