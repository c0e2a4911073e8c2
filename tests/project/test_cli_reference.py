"""The reference of the management commands agrees with the code."""

from __future__ import annotations

import pytest

from tests.project import cli_reference as reference


@pytest.mark.parametrize("name", reference.PAGES)
def test_page_is_current(name: str) -> None:
    """A page of the reference is what the code makes of it."""
    written = (reference.FOLDER / name).read_text("utf-8")
    assert written == reference.PAGES[name](), "run: python -m tests.project.cli_reference"


def test_exit_codes_are_current() -> None:
    """The table of exit codes is that of the code."""
    assert reference.HOWTO.read_text("utf-8") == reference.howto(), "run: python -m tests.project.cli_reference"


@pytest.mark.parametrize("vendor", reference.VENDORS)
def test_everything_is_described(vendor: str) -> None:
    """Each command and each option says what it is for; of arguments those whose name does not."""
    commands = reference.commands_of(vendor)
    assert all((one.function.__doc__ or "").strip().endswith(".") for one in commands.registered)
    options = [*commands.shared.values()]
    for one in commands.registered:
        options += [each for each in list(reference.parameters_of(one.function))[1:] if reference.is_option(each)]
    assert [each.name for each in options if not reference.help_of(each)] == []
