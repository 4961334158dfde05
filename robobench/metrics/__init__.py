"""Pure functions of rows."""
