"""Stripes over images, as a plug-in of robobench."""
