"""Verdicts on evidence, from the FAQ's documentation and the ledger. Nothing is run here.

outcomes: the outcome of one load, from its records
judge: verdicts on all cells of a plan
judgement: types of the result
ledger: known deviations from the FAQ
summary: outcomes counted by band
fidelity: comparison of the cpu lane with the gpu lane
"""
