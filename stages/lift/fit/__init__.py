"""Fitting the weights: a step, an epoch of steps, and the error that chooses the best."""
