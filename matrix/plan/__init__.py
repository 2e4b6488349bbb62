"""Plans: the cells of a selection, the evidence on them, and the work and time that remain.

cells: the plan and its cells
evidence_index: the evidence on a plan, from a store and from the recorded evidence
remaining: the saves and loads of a plan that have no evidence yet
costs: expected durations of saves and loads, from earlier ones
estimate: the expected cost of a plan
shards: the division of a plan into parts of equal cost
"""
