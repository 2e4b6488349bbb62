"""The possible causes of an error, for ``te-matrix explain --error``.

An error is Transformer Engine's only where the text shows that: by a frame of its code, a key that
ends in ``_extra_state``, or one of its names. ``catalogue/data/symptoms.toml`` says what shows it,
and which messages have which cause; the modules here apply that table, and know no message.

text: a log or traceback without what terminals, launchers and loggers add to it
keys: the keys that a text lists as missing, unexpected or of another size
table: the table, and its patterns
claims: the causes whose conditions a text meets
seen: the pairs of releases that raised an error of a known cause, from the evidence
explaining: the answer to one text
page: that answer as text
rules: all of it as plain data, for the script of the report's page
"""

from matrix.doctor.symptoms.explaining import Explanation, PossibleCause, explain, rows_of
from matrix.doctor.symptoms.rules import plain_rules
from matrix.doctor.symptoms.table import Cause

__all__ = ["Cause", "Explanation", "PossibleCause", "explain", "plain_rules", "rows_of"]
