"""Frozen 2D pose detectors."""
