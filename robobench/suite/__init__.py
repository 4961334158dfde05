"""Suites: the schema, and YAML files read into it."""
