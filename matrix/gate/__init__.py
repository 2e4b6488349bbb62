"""The gate: turns a report into checks under a policy, has pytest run them, gives an exit code.

==================  ===========================================================
``policies``        the policies, and the checks of a report under one of them
``baseline``        policies as they are asked for, and reading their baseline
``plugin``          the pytest plugin: its options
``pytest_items``    pytest items, one for each check
``pytest_session``  a pytest session of checks alone
``condensing``      fewer test cases than checks, where there are very many
``outputs``         annotations, a summary and code quality for CI services
``accept``          proposals for ledger entries
``pipelines``       pipeline files that run the matrix in several jobs
==================  ===========================================================
"""
