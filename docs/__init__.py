"""The documentation: pages, and the code that writes those which would otherwise be typed twice."""
