"""The directory of a run: what it holds, who writes it, and what it was trained on."""
