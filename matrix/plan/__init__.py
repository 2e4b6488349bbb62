"""Which cells a selection means, what is known of them, what is left to do, and what that costs.

cells: the plan and its cells
evidence_index: the evidence on a plan, from a store and from what was recorded
remaining: the saves and loads that are still to be made
costs: seconds that saves and loads took before
estimate: what a plan will cost
shards: a plan split into parts of equal cost
"""
