"""Pictures of the documentation that are drawn by code."""
