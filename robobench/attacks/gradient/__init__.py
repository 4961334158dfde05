"""Attacks that follow the gradient of a loss in the pixels, told as start and step. One file per idea."""
