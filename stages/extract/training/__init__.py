"""Training a 2D detector on the 2D labels of a dataset."""
