"""Pages of runs: one html file each, which needs nothing but a browser."""
