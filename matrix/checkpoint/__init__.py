"""Checkpoint files as inert values: read, edited and written without running them."""
