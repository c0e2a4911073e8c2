"""The commands of `flagmw monetate`."""
