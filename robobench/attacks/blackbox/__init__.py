"""Attacks that see nothing of a model but its answers."""
