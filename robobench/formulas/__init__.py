"""Composite scores over the conditions of a suite."""
