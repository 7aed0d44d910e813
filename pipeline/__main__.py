"""`python -m pipeline` is `posecache`."""

from pipeline.cli import main

main()
