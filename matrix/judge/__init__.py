"""From evidence to verdicts: outcome, documentation, ledger. Nothing is run here.

evidence: the evidence that a judgement may use
outcomes: what became of a load: of every part, and of the weights
endings: what became of a checkpoint in a load, the only rule for what goes well
ways: the way across: what was seen to go well
controls: what loading releases do with their own saves
judge: the verdicts on all cells of a plan
judgement: the types of the result
ledger: known deviations from the FAQ
summary: verdicts counted by band
fidelity: the cpu lane beside the gpu lane
pytorches: one version of PyTorch beside others
"""
