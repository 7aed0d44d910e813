"""Measurements: every row holds its baseline from the same run, the machine and the versions."""
