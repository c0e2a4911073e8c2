"""The reference pages of the management commands, written from the code.

    python -m tests.project.cli_reference

writes them anew. `test_cli_reference.py` fails while a page differs from the code.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin

from typer.models import ArgumentInfo, OptionInfo

from flagmw.cli.admin.command import Commands, Registered, parameters_of
from flagmw.cli.admin.exits import EXIT_CODES

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
# By the word after `flagmw`: the vendor, and the page of the client's methods.
VENDORS = {
    "adobe": ("Adobe Target", "adobe-target-admin.md"),
    "contentstack": ("Contentstack Personalize", "contentstack-admin.md"),
    "monetate": ("Monetate", "monetate-admin.md"),
}

_NOTE = "<!-- Written by `python -m tests.project.cli_reference` from the code. Edit the code there. -->"
HOWTO = FOLDER.parent / "management-commands.md"
_BEGIN, _END = "<!-- exit codes -->", "<!-- end of exit codes -->"
Parameter = inspect.Parameter


def commands_of(vendor: str) -> Commands:
    """Return the commands of a vendor."""
    found: Commands = import_module(f"flagmw.cli.{vendor}.app").commands
    return found


def page(vendor: str) -> str:
    """Return the page of a vendor."""
    title, methods = VENDORS[vendor]
    commands = commands_of(vendor)
    lines = [
        f"# `flagmw {vendor}`: every command",
        "",
        _NOTE,
        "",
        f"{title} from the command line; how to use it: [Management commands](../management-commands.md). Each command",
        f"names the methods of the client that it calls ([every operation]({methods})).",
        "",
        "## Settings",
        "",
        f"Read from environment variables, then from the table `[{vendor}]` of the credentials file.",
        "",
        "| variable | in the file | meaning |",
        "|---|---|---|",
        *(f"| `{vendor.upper()}_{name.upper()}` | `{name}` | {text} |" for name, text in commands.settings.items()),
        "",
        "## Options that commands share",
        "",
        "`--csv` is there where rows are printed, `--yes` where something is destroyed.",
        "",
        *_table(commands.shared.values()),
    ]
    group = ""
    for one in commands.registered:
        words = one.words.split()
        if words[2] != group and len(words) > 3:
            lines += ["", f"## `flagmw {vendor} {words[2]}`"]
        elif len(words) == 3:
            lines += ["", f"## `{one.words}`"]
        group = words[2]
        lines += ["", *_command(one)]
    return "\n".join([*lines, ""])


def exit_codes() -> list[str]:
    """Return the table of exit codes."""
    return ["| exit code | meaning |", "|---|---|", *(f"| {code} | {text} |" for code, text in EXIT_CODES.items())]


def _command(one: Registered) -> Iterator[str]:
    own = list(parameters_of(one.function))[1:]
    arguments = [_argument(parameter) for parameter in own if isinstance(_info(parameter), ArgumentInfo)]
    if len(one.words.split()) > 3:
        yield f"### `{' '.join([one.words, *arguments])}`"
        yield ""
    elif arguments:
        yield f"`{' '.join([one.words, *arguments])}`"
        yield ""
    yield " ".join(line.strip() for line in (inspect.getdoc(one.function) or "").splitlines() if line.strip())
    calls = ", ".join(f"`{call}`{f' (`{options}`)' if options else ''}" for call, options in one.calls.items())
    if calls:
        yield ""
        yield f"Calls {calls}."
    has = set(inspect.signature(one.typed).parameters)
    special = [option for name, option in (("as_csv", "--csv"), ("yes", "--yes")) if name in has]
    if special:
        yield ""
        yield f"Has {' and '.join(f'`{option}`' for option in special)}."
    if own:
        yield ""
        yield from _table(own)


def _table(parameters: Any) -> Iterator[str]:
    yield "| argument or option | default | meaning |"
    yield "|---|---|---|"
    for parameter in parameters:
        info = _info(parameter)
        name = _argument(parameter) if isinstance(info, ArgumentInfo) else _option(parameter)
        default = parameter.default
        shown = "required" if default is Parameter.empty else _default(default)
        choices = ", ".join(f"`{one.value}`" for one in _choices(parameter))
        text = " ".join(filter(None, [(info.help or "").strip(), f"One of {choices}." if choices else ""]))
        yield f"| `{name}` | {shown} | {text.replace('|', chr(92) + '|')} |"


def is_option(parameter: Parameter) -> bool:
    """Say whether it is an option, not an argument."""
    return isinstance(_info(parameter), OptionInfo)


def help_of(parameter: Parameter) -> str:
    """Return what is said of it."""
    return (_info(parameter).help or "").strip()


def _info(parameter: Parameter) -> ArgumentInfo | OptionInfo:
    found = next(
        (one for one in get_args(parameter.annotation)[1:] if isinstance(one, ArgumentInfo | OptionInfo)), None
    )
    assert found is not None, f"{parameter.name}: annotate it as Argument or Option"
    return found


def _type(parameter: Parameter) -> Any:
    """Return the type of one value: without Annotated, lists and None."""
    kind = get_args(parameter.annotation)[0]
    while get_origin(kind) is not None:
        kind = next(one for one in get_args(kind) if one is not type(None))
    if kind.__class__.__name__ == "UnionType":
        kind = next(one for one in get_args(kind) if one is not type(None))
    return kind


def _choices(parameter: Parameter) -> list[Enum]:
    kind = _type(parameter)
    return list(kind) if isinstance(kind, type) and issubclass(kind, Enum) else []


def _argument(parameter: Parameter) -> str:
    return _info(parameter).metavar or parameter.name.upper()


def _option(parameter: Parameter) -> str:
    info = _info(parameter)
    # In an annotation the first name stands where a default would.
    given = [info.default] if isinstance(info.default, str) else []
    names = [*given, *(info.param_decls or ())] or [f"--{parameter.name.replace('_', '-')}"]
    kind = _type(parameter)
    value = "" if kind is bool else f" {info.metavar or ('N' if kind in (int, float) else 'TEXT')}"
    return ", ".join(names) + value


def _default(value: Any) -> str:
    if value is None or value is False:
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


PAGES: dict[str, Callable[[], str]] = {
    f"commands-{vendor}.md": lambda vendor=vendor: page(vendor) for vendor in VENDORS
}  # type: ignore[misc]


def howto() -> str:
    """Return the how-to page with the exit codes of the code."""
    text = HOWTO.read_text("utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return "\n".join([before + _BEGIN, *exit_codes(), _END + after])


if __name__ == "__main__":
    HOWTO.write_text(howto(), "utf-8")
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), "utf-8")
        sys.stdout.write(f"wrote docs/reference/{name}\n")
