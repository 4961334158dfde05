"""Calibration: whether probabilities mean what they say, a file per idea.

A row whose logits are not finite has no probabilities, and where no class is right (an outlier) there is
nothing for a probability to be right about: both are left out.
"""
