"""The gate: a run becomes checks under a policy, which pytest runs, and an exit code.

==================  ===========================================================
``policies``        the policies, and the checks of a report under one of them
``baseline``        a policy as it was asked for, and reading its baseline
``plugin``          the pytest plugin: its options
``pytest_items``    checks as items of a pytest session
``pytest_session``  a pytest session of nothing but checks
``outputs``         what pipelines show: annotations, a summary, code quality
``accept``          deviations become ledger entries for review
``pipelines``       pipeline files that run the matrix in several jobs
==================  ===========================================================
"""
