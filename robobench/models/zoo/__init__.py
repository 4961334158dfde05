"""The models of the quickstart and how they were trained."""
