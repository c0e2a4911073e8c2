"""Time flagmw against the floor it stands on and against what else could be used: `make bench`."""
