"""Changes to a model's own computation."""
