"""Pages made of the sources at every build: the same sources, the same pages."""
