"""From evidence to verdicts: outcome, documentation, ledger. Nothing is run here.

outcomes: what became of the metadata in one load
judge: every cell of a plan, judged
judgement: the types of the result
ledger: known deviations from the FAQ
summary: verdicts counted by band
fidelity: the cpu lane beside the gpu lane
"""
