"""The running of releases: their code, their processes, the measuring, and the run itself.

sources: where a release's Python code comes from
installed: the release that is installed for this interpreter
device: the GPU of this machine
process: the process of one release
wire, protocol: JSON Lines to and from the worker
local: the local runner, a fork server
measure: one save or one load, measured and kept
run: all that a plan still lacks
containers/: the docker runner
cluster/: a run on a Dask cluster
"""
