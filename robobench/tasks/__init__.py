"""What is recorded of a model's answers."""
