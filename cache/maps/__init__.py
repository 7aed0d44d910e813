"""Feature maps as bytes: how they lie in shards, and the ways of reading them."""
