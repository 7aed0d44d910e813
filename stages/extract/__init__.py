"""Stage 1: run a frozen 2D detector over a dataset once and store what it sees."""
