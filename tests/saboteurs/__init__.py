"""Saboteurs: faults planted in copies of real releases, to see that the gate stops each.

``saboteurs.toml`` says what is planted where and what the gate must say of it; the faults
themselves are in ``faults/``. ``python -m saboteurs``, from ``tests/``, tries them all.
"""
