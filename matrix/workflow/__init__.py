"""From a selection to a plan, a runner and a judgement: what every command does first.

===============  ==============================================================
``arguments``    the selection options, parsed alike by commands and by pytest
``selecting``    a request becomes a plan, with its evidence and its judgement
``local_gpu``    the selection and the runner of an environment with one release
``containers``   what a selection means in containers, and what runs it there
``runners``      what runs a plan, on this machine or on workers of a cluster
``parts``        the part of a plan that one run does: phase, band, shard
``measuring``    the run that brings a store up to date with a plan
``reading``      reports and records that earlier runs left
``merge``        several stores become one
``rerecord``     a live run of the whole catalogue becomes the recorded evidence
===============  ==============================================================
"""
