"""Where models come from: a handle, and one file per source."""
