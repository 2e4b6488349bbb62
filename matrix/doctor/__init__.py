"""Answers about a checkpoint of one's own: inspect it, explain what it meets, remap it."""
