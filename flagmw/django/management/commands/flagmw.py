"""`manage.py flagmw`: the `flagmw` command with the settings' options."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from flagmw.cli import main
from flagmw.django.settings import from_settings
from flagmw.exceptions import ConfigError
from flagmw.runtime import Flagmw


class Command(BaseCommand):
    """Pass every argument on to `flagmw`, which takes its options from `settings.FLAGMW`."""

    help = "flagmw with the options of settings.FLAGMW: `manage.py flagmw --help` lists its commands."
    requires_system_checks = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Run the command as it was typed; this ends the process."""
        # Django has read its own options from the line, and left them there.
        django = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        for option in ("--settings", "--pythonpath"):
            django.add_argument(option)
        for option in ("--no-color", "--force-color", "--traceback", "--skip-checks"):
            django.add_argument(option, action="store_true")
        options, arguments = django.parse_known_args(argv[2:])
        if options.no_color:
            os.environ["NO_COLOR"] = "1"
        if options.force_color:
            os.environ["FORCE_COLOR"] = "1"
        _run(arguments, f"{Path(argv[0]).name} {argv[1]}")

    def add_arguments(self, parser: CommandParser) -> None:
        """Take what `call_command` gives."""
        parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what `flagmw` takes")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command for `call_command`.

        Raises:
            CommandError: the command ended with another exit code than 0.
        """
        try:
            _run(options["arguments"], "manage.py flagmw")
        except SystemExit as end:
            if end.code not in (None, 0):
                code = end.code if isinstance(end.code, int) else 1
                raise CommandError(f"flagmw ended with exit code {code}", returncode=code) from None


def _run(arguments: Sequence[str], program: str) -> None:
    # Where the command's libraries are missing, it says which in place of what it would do.
    from flagmw.cli.source import within

    with within(_of_settings):
        main(arguments, program)


def _of_settings() -> Flagmw:
    try:
        return from_settings()
    except ImproperlyConfigured as error:
        raise ConfigError(str(error)) from None
