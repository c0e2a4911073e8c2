"""Credentials of the Personalize Management API."""
