"""From a selection to a plan, a runner and a judgement: what every command does first.

merge: several stores brought into one
rerecord: a live run of the whole catalogue as the new recorded evidence
"""
