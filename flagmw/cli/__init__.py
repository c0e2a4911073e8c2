"""The `flagmw` command."""

from flagmw.cli.main import main

__all__ = ["main"]
