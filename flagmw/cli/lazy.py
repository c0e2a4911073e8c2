"""Groups of commands that are imported when they are first used."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_group


class LazyGroup(TyperGroup):
    """A group whose module is imported when one of its commands, or its help, is asked for."""

    source: ClassVar[str]

    @cached_property
    def _loaded(self) -> TyperGroup:
        group: TyperGroup = get_group(import_module(self.source).app)
        return group

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        return self._loaded.list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, None where there is none of this name."""
        return self._loaded.get_command(ctx, cmd_name)


def add_lazily(app: typer.Typer, name: str, source: str, help: str) -> None:
    """Add the commands of a module to *app*.

    Args:
        source: the module, which has an `app`; it is imported when it is needed.
        help: one line for the list of commands.
    """
    group = type(f"{name.title()}Group", (LazyGroup,), {"source": source})
    app.add_typer(typer.Typer(cls=group, help=help, no_args_is_help=True), name=name)
