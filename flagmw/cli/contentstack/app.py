"""All commands of `flagmw contentstack`."""

from __future__ import annotations

from importlib import import_module

from flagmw.cli.contentstack.root import app, commands

# Importing a module adds its commands; this is the order in which they are listed.
for _name in ("project", "experiences", "versions", "analytics", "places"):
    import_module(f"flagmw.cli.contentstack.{_name}")

__all__ = ["app", "commands"]
