"""All commands of `flagmw monetate`."""

from __future__ import annotations

from importlib import import_module

from flagmw.cli.monetate.root import app, commands

# Importing a module adds its commands; this is the order in which they are listed.
for _name in ("metadata", "schemas", "data", "files", "sessions"):
    import_module(f"flagmw.cli.monetate.{_name}")

__all__ = ["app", "commands"]
