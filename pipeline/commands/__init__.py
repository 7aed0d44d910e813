"""What each command does: compose the stages, print the result."""
