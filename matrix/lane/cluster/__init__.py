"""Running on a Dask cluster: the only part that imports Dask, and only when it is asked for.

===============  ==============================================================
``connect.py``   an address, a scheduler file or "local" becomes a client
``station.py``   what each worker has: a host of its own and the shared store
``graph.py``     saves and loads as tasks; retries; what a lost worker costs
===============  ==============================================================
"""
