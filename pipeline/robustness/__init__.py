"""How errors grow when pictures, boxes and 2D joints get worse than those of the store."""
