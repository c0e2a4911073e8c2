"""Monetate's management APIs, emulated over the account that the engine serves."""
