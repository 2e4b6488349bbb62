"""What can be asked: releases, scenarios, variants, the FAQ, and what a selection means.

releases: the releases there are, their order, and where each one's code comes from
faq: what the FAQ documents, as bands and rules
scenarios: how a checkpoint is made, and the variants in which it is loaded
forms: the forms that releases read FP8 extra states in
selection: which releases, scenarios and variants a command line means
ranges: sets of releases as text
tables: TOML files read strictly
data/: the tables themselves
"""
