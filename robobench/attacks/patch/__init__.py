"""Attacks that change a patch of each image in any way, and the rest not at all."""
