"""Lifters, one file each."""
