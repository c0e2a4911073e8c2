"""The page `docs/reference/scenario.md`: every table and key of a sandbox's scenario, written from the code.

    python -m tests.project.scenario_reference

writes it anew. `test_scenario_reference.py` fails while the page differs from what the loader takes.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from flagmw.sandbox.scenario import Scenario
from tests.project.reference import descriptions, shown

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "scenario.md"
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", object: "anything", Any: "anything"}

_NOTE = "<!-- Written by `python -m tests.project.scenario_reference` from the code. Edit the docstrings there. -->"


@dataclasses.dataclass(frozen=True)
class Part:
    """One table of the file: its heading there, and the class that describes it."""

    heading: str
    source: type
    path: tuple[str, ...]


def parts(source: type = Scenario, path: tuple[str, ...] = (), heading: str = "The whole file") -> Iterator[Part]:
    """Yield the tables of a scenario, each before those inside it."""
    yield Part(heading, source, path)
    for name, hint in keys(source).items():
        inner, several = inside(hint)
        if inner is not None:
            below = (*path, name)
            dotted = ".".join(below)
            by_name = isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Mapping)
            heading = f"`[[{dotted}]]`" if several else f"`[{dotted}.NAME]`" if by_name else f"`[{dotted}]`"
            yield from parts(inner, below, heading)


def keys(source: type) -> dict[str, Any]:
    """Return the keys of a table with their types."""
    hints = get_type_hints(source)
    return {field.name: hints[field.name] for field in dataclasses.fields(source) if field.init}


def inside(hint: Any) -> tuple[type | None, bool]:
    """Return the class of a table inside another one, and whether there may be several; None for a plain value."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return next((found for found in map(inside, args) if found[0] is not None), (None, False))
    if origin is tuple or (inspect.isclass(origin) and issubclass(origin, Mapping)):
        inner = inside(args[-1 if origin is not tuple else 0])[0]
        return inner, origin is tuple
    return (hint, False) if dataclasses.is_dataclass(hint) and isinstance(hint, type) else (None, False)


def kind(hint: Any) -> str:
    """Return the type of a key in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return ", ".join(f'`"{each}"`' for each in args)
    if origin in (Union, types.UnionType):
        return " or ".join(kind(each) for each in args if each is not type(None))
    if inside(hint)[0] is not None:
        return (
            "list of tables"
            if origin is tuple
            else "table of tables"
            if origin not in (None, Union, types.UnionType)
            else "table"
        )
    if origin is tuple:
        return f"list of {kind(args[0])}"
    if origin is not None:
        return f"table of {kind(args[1])}"
    return WORDS[hint]


def lines(part: Part) -> Iterator[str]:
    """Yield the rows of one table."""
    described = descriptions(part.source) if "Attributes:" in (inspect.getdoc(part.source) or "") else {}
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    for field in dataclasses.fields(part.source):
        if not field.init:
            continue
        hint, default = keys(part.source)[field.name], field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        inner, _ = inside(hint)
        if default is dataclasses.MISSING:
            text = "required"
        else:
            text = "none" if inner is not None or default in ((), None) or default == {} else shown(default)
        meaning = described[field.name].replace("|", "\\|")
        yield f"| `{field.name}` | {kind(hint)} | {text} | {meaning[:1].upper()}{meaning[1:]} |"


def page() -> str:
    """Return the page."""
    found = [
        "# Scenarios of the sandbox: every table and key",
        "",
        _NOTE,
        "",
        "A scenario is a TOML file: `flagmw sandbox --scenario ./mine.toml`. `flagmw/sandbox/scenarios/` has samples.",
        "An unknown key, a missing one and a value of a wrong type are errors that name the place.",
    ]
    for part in parts():
        summary = (inspect.getdoc(part.source) or "").splitlines()[0]
        found += ["", f"## {part.heading}", "", summary, "", *lines(part)]
    return "\n".join([*found, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"wrote {PAGE}")
