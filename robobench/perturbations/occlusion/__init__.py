"""Occlusion: part of an image is covered, in cells or in one piece. One file per kind of mask."""
