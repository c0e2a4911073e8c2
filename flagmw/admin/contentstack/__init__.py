"""Contentstack Personalize: its Management API."""
