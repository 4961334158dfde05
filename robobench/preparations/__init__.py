"""Things made once by a model and given to conditions by name."""
