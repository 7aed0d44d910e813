"""mmpose's top-down estimators: their configs, networks, decoders and the places that are read."""
