"""Stage 1 as the commands see it: what is asked for, who does it, and what it will cost."""
