"""Style: the shapes of an image stay and its surfaces change, or the other way round."""
