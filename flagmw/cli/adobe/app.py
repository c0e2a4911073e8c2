"""All commands of `flagmw adobe`."""

from __future__ import annotations

from importlib import import_module

from flagmw.cli.adobe.root import app, commands

# Importing a module adds its commands; this is the order in which they are listed.
for _name in ("activities", "changes", "reports", "content", "account", "batch", "profiles", "bulk", "tokens"):
    import_module(f"flagmw.cli.adobe.{_name}")

__all__ = ["app", "commands"]
