"""Tests, layered like the package."""
