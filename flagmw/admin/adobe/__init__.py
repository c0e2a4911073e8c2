"""Adobe Target: the Admin API and the Profile API."""
