"""Functions of pixels: one file per idea."""
