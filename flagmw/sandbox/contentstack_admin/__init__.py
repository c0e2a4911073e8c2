"""Emulated Management API of Contentstack Personalize."""
