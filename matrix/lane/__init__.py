"""Runs releases: fetches their code, starts their processes, saves and loads with them.

sources: fetches and caches the Python code of releases
git: the git repository that candidates and old releases come from
installed: the release that is installed for this interpreter
device: the GPU of this machine
environment: the worker's folder, its digest and its environment variables
wire: JSON Lines over a socket
protocol: the messages of a worker, as types
context: where a release process runs, and how files get there
process: one release process: requests and answers
runner: the interface of runners, which open release processes
local: the local runner, a fork server on this machine
process_pool: the processes of a run, one per release
asking: what a release has that is not in the catalogue
checkpoint_files: checkpoints as files that a release process can load
measure: one save or one load, from the request to the record
run: what a plan still lacks, and what has been done
execution: the steps of a run; the interface of executors
threads: the executor of this machine
binding/: the releases' own compiled extensions, to compare with and to run on
containers/: the docker runner
cluster/: the executor of a Dask cluster
"""
