"""Runs as the commands see them: training them, directories, index, comparison."""
