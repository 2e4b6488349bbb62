"""Saboteurs: faults planted in copies of real releases, to see that none qualifies.

``saboteurs.toml`` says what is planted where and what must be said of it; the faults
themselves are in ``faults/``. ``python -m saboteurs``, from ``tests/``, tries them all.
"""
