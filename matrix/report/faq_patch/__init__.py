"""A patch of the FAQ: its list of behaviours, with every sentence agreeing with observed loads.

The list is about three kinds of checkpoint, the FAQ's scenarios. The published list is rendered
from ``faq.toml`` and the corrected one from a report, both by one template, so that the patch holds
what is to be changed and nothing else.

versions: sets of releases in the notation of the FAQ
saving: where releases save FP8 metadata
claims: what the list says of one pair of releases
sentences: that in words
observed: the loads of a report, and what is said of each
table: the list as reStructuredText, and the published one
rows: pairs of releases put together to its rows
corrected: the list that agrees with a report
patching: the patch
"""

from matrix.report.faq_patch.patching import SELECTION, patch

__all__ = ["SELECTION", "patch"]
