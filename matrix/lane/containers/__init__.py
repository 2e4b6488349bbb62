"""The docker runner: images on pinned bases, and one confined container per release.

lock: ``images.lock``, the base images by tag and digest
registry: base images and their digests, from their registries
packages: the wheels for the cpu lane, downloaded by pip on this machine
image_spec: the content of an image, and the tag that follows from it
images: builds, lists and removes images; keeps a limited number of them
image_builder: from a release to its image
engine: the container engine, through its API
gpu: the GPU of the engine, and whether it can do FP8 attention
volumes: files into containers and out of them
confinement: a container with limits, and the connection to its worker
runner: opens release processes in containers
candidate: an image under test, as a candidate
"""
