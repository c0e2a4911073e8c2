"""All commands of `flagmw adobe`."""

from __future__ import annotations

from flagmw.cli.adobe import account, activities, batch, bulk, changes, content, profiles, reports, tokens
from flagmw.cli.adobe.root import app, commands

# Importing a module adds its commands.
MODULES = (activities, changes, reports, content, account, batch, profiles, bulk, tokens)

__all__ = ["MODULES", "app", "commands"]
