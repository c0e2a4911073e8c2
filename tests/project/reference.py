"""The pages of `docs/reference/`, written from the descriptions in the code.

    python -m tests.project.reference

writes them anew. `test_reference.py` fails while a page differs from the code, or an option has no description.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flagmw.config import Config
from flagmw.vendors.adobe import AdobeTarget
from flagmw.vendors.contentstack import Contentstack
from flagmw.vendors.monetate import Monetate
from flagmw.vendors.static import Static
from flagmw.vendors.webtrends import Webtrends

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
VENDORS = (Webtrends, AdobeTarget, Monetate, Contentstack, Static)
SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:")

_NOTE = "<!-- Written by `python -m tests.project.reference` from the code. Edit the docstrings there. -->"


def descriptions(source: type) -> dict[str, str]:
    """Return the options that the docstring of *source* describes, by name, each as one line of text."""
    lines = (inspect.getdoc(source) or "").splitlines()
    start = next(number for number, line in enumerate(lines) if line in ("Args:", "Attributes:"))
    found: dict[str, str] = {}
    name = ""
    for line in lines[start + 1 :]:
        if line.strip() in SECTIONS:
            break
        entry = re.match(r"    (\w+): (.*)", line)
        if entry:
            name = entry[1]
            found[name] = entry[2].strip()
        elif line.strip():
            found[name] += " " + line.strip()
    return found


def introduction(source: type) -> str:
    """Return the text of the docstring of *source* between its first line and its options."""
    text = inspect.getdoc(source) or ""
    _, _, rest = re.split(r"\n(?:Args|Attributes):\n", text)[0].partition("\n")
    return re.sub(r"(?<!\n)\n(?!\n)", " ", rest.strip())


def defaults(source: type) -> dict[str, Any]:
    """Return the options of *source* with their defaults; `inspect.Parameter.empty` for those that are required."""
    if dataclasses.is_dataclass(source):
        return {field.name: _default(field) for field in dataclasses.fields(source)}
    parameters = list(inspect.signature(source).parameters.values())
    return {parameter.name: parameter.default for parameter in parameters}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def shown(value: Any) -> str:
    """Return a default as the tables show it."""
    if value is inspect.Parameter.empty:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, Mapping):
        return "`{}`" if not value else f"`{dict(value)}`"
    if isinstance(value, tuple | list):
        return "`[" + ", ".join(f'"{each}"' for each in value) + "]`"
    return f"`{value}`"


def table(source: type) -> list[str]:
    """Return the table of all options of *source*."""
    described = descriptions(source)
    lines = ["| option | default | description |", "|---|---|---|"]
    for name, default in defaults(source).items():
        text = described[name].replace("|", "\\|")
        lines.append(f"| `{name}` | {shown(default)} | {text[:1].upper()}{text[1:]} |")
    return lines


def options_page() -> str:
    return "\n".join(
        [
            "# Options of `Flagmw`",
            "",
            _NOTE,
            "",
            "`Flagmw(...)` takes these options as keyword arguments. `Flagmw.from_mapping(...)` reads the same names",
            "from a mapping, a TOML file and `FLAGMW_*` variables.",
            "An unknown or wrong option raises `ConfigError` at start.",
            "The options of each vendor are on [their own page](vendors.md).",
            "",
            *table(Config),
            "",
        ]
    )


def vendors_page() -> str:
    parts = [
        "# Options of the vendors",
        "",
        _NOTE,
        "",
        "Each vendor is a class of `flagmw`. In a mapping or a TOML file the key `type` names it.",
    ]
    for source in VENDORS:
        text = introduction(source)
        parts += ["", f"## `{source.__name__}`", "", *([text, ""] if text else []), *table(source)]
    return "\n".join([*parts, ""])


PAGES = {"options.md": options_page, "vendors.md": vendors_page}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), "utf-8")
        print(f"wrote docs/reference/{name}")
