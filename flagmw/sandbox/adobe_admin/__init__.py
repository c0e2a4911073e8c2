"""The emulated Adobe Target's Admin API, Profile API and token service."""
