"""Photographs as cameras take and store them: lens, light, weather and processing at five severities."""
