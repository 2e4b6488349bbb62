"""The programs of ``nox -s bench``; each prints a table of ratios timed in one run.

run         the fork server and the store, beside a run without them
floor       a run, beside the imports and loads that no harness can do without
bare        run by ``floor``: one release's loads and nothing else
growth      plan, run, judge and report, from 10 to 200 releases
report      writing and reading a report, up to 100,000 cells
checkpoint  ``inspect``, beside ``torch.load``
quantized   rewriting and dequantizing quantized weights, beside a copy of the file

Start one by ``PYTHONPATH=tests python -m bench.NAME``.
"""
