"""The checkpoint compatibility matrix for Transformer Engine.

The way through: ``catalogue`` -> ``plan`` -> ``lane`` (which drives ``worker``)
-> ``store`` -> ``judge`` -> ``report``. Imports flow that way only.
"""

__version__ = "0.1.0"
