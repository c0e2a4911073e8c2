"""Credentials of Adobe: OAuth server-to-server, the retired JWT flow, profile tokens."""
