"""The executor of a Dask cluster. Only this package imports Dask, and only on request.

connect: from the value of ``--scheduler`` to a Dask client
worker: what a Dask worker keeps during a run: a runner and the store
tasks: saves and loads as tasks, with retries
executor: registers the worker plugin and carries out the tasks
"""
