"""From a selection to a plan, its evidence, a runner and a judgement, for all commands.

===============  ==============================================================
``arguments``    the selection options of commands and of the pytest plugin
``selecting``    turns a request into a plan, with its evidence and judgement
``local_gpu``    the release that is installed for this interpreter, on its GPU
``containers``   releases, base images and the runner in containers
``runners``      makes the runner of a selection, on any machine
``parts``        the part of a plan that one run does: a phase, a band, a shard
``measuring``    what a run needs to measure here or on a cluster
``inputs``       what a report is made from, as one digest
``qualifying``   a candidate measured, and held against its baseline
``correcting``   the patch of the FAQ, from a request
``history``      the commits of Transformer Engine's git repository
``bisecting``    where a behaviour changes in a history, whatever it is
``commit_cells`` cells measured with a commit in a release's place
``locating``     the commit at which a cell's outcome changes
``attributing``  all changes between two releases, by commit
``tracing``      what ``te-matrix bisect`` does with these
``reading``      reports and records of earlier runs
``merge``        merges stores
``rerecord``     replaces the recorded evidence by that of a live run
===============  ==============================================================
"""
