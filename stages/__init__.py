"""The two stages: extraction of caches and lifting from them. Neither imports the other."""
