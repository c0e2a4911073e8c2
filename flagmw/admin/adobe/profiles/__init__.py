"""The Profile API: reading profiles, updating one, updating many from a source of rows."""
