"""The modules that Django finds commands in."""
