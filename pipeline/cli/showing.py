"""For people to look at: poses of one's own pictures, reports of runs."""
