"""The Profile API: reading, single updates, bulk updates."""
