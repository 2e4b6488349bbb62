"""Stand-ins for workers, for tests of the harness that need no Transformer Engine."""
