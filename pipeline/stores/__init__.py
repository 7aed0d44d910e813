"""Stores as the commands see them: finding, describing, drawing, comparing."""
