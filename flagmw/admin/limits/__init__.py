"""Limits of calls: one client's, or an organisation's over many processes."""
