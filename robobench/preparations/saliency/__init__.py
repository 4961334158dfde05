"""Saliency: which pixels an answer depends on, by a model's gradient or attention, or from files."""
