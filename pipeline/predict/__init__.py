"""3D poses of one's own pictures and videos with a finished run."""
