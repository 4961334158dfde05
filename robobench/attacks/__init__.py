"""Searches for pixels inside a budget."""
