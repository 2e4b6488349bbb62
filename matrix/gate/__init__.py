"""The gate: a run becomes checks under a policy, pytest runs them, an exit code says the rest.

``policies`` decides, ``plugin`` is how pytest sees it, ``engine`` runs pytest by itself,
``outputs`` writes what pipelines show, ``accept`` proposes ledger entries.
"""
