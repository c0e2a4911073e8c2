"""Public names of the package, with signatures and attributes, as text: one line each.

python -m tests.project.public_api           rewrites public_api.txt, after a change that is meant
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SNAPSHOT = Path(__file__).parent / "public_api.txt"

# Modules that users import. Names are those of `__all__` where nothing else is said.
MODULES: dict[str, tuple[str, ...]] = {
    "flagmw": (),
    "flagmw.asgi": ("KEY", "FlagsMiddleware", "flags_from"),
    "flagmw.wsgi": ("KEY", "FlagsMiddleware", "flags_from"),
    "flagmw.django": ("FlagsMiddleware", "flags_from", "from_settings", "register"),
    "flagmw.fastapi": (),
    "flagmw.flask": (),
    "flagmw.testing": ("FakeVendor", "capture_tracks", "flagmw_sandbox", "override_flags"),
    "flagmw.config": (),
    "flagmw.flags": ("Flags",),
    "flagmw.types": (
        *("Ambiguous", "Call", "CookieChange", "Dead", "Decision", "DecisionNote", "Delivered", "Dropped"),
        *("Event", "EventNote", "Factor", "Flow", "Outcome", "Reply", "Retry", "Scalar", "Suspend", "Track"),
        *("Variant", "Visit", "VisitorState"),
    ),
    "flagmw.codes": ("ErrorCode", "Reason"),
    "flagmw.exceptions": ("ConfigError", "FlagmwError", "OutboxError", "ProtocolError", "TransportError"),
    "flagmw.vendors.base": ("CookieRule", "Participation", "Vendor"),
    "flagmw.vendors.adobe": ("AdobeTarget",),
    "flagmw.vendors.contentstack": ("Contentstack",),
    "flagmw.vendors.monetate": ("Monetate",),
    "flagmw.vendors.static": ("Static",),
    "flagmw.vendors.webtrends": ("Webtrends",),
    "flagmw.outbox.base": ("DeadLetter", "LaneStats", "Lease", "Leased", "Outbox", "OutboxStats"),
    "flagmw.outbox.policy": ("Policy",),
    "flagmw.outbox.memory": ("MemoryOutbox",),
    "flagmw.outbox.sqlite": ("SqliteOutbox",),
    "flagmw.outbox.valkey": (),
    "flagmw.outbox.worker": ("Worker",),
    "flagmw.sandbox": (),
    "flagmw.doctor": (),
    "flagmw.cli": ("main",),
}


def lines() -> Iterator[str]:
    """Yield what the package shows, in the order of `MODULES`."""
    named: dict[int, str] = {}
    for module, names in MODULES.items():
        loaded = importlib.import_module(module)
        for name in sorted(names or loaded.__all__):
            path, value = f"{module}.{name}", getattr(loaded, name)
            if (inspect.isclass(value) or inspect.isfunction(value)) and id(value) in named:
                yield f"{path} is {named[id(value)]}"
                continue
            named[id(value)] = path
            yield from described(path, value)
    yield from commands()


def described(path: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        bases = ", ".join(base.__name__ for base in value.__mro__[1:] if base.__module__ == "builtins")
        yield f"class {path}{signature(value)}: {bases}"
        if issubclass(value, enum.Enum):
            yield from (f"  {path}.{member.name} = {member.value!r}" for member in value)
            return
        defaults = (
            {field.name: shown(field) for field in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else {}
        )
        for name in sorted(members(value)):
            member = inspect.getattr_static(value, name, None)
            if name in defaults:
                yield f"  {path}.{name}{defaults[name]}"
            elif isinstance(member, property):
                yield f"  {path}.{name}: property"
            elif inspect.isroutine(member) or isinstance(member, classmethod | staticmethod):
                function = getattr(member, "__func__", member)
                kind = "async " if inspect.iscoroutinefunction(function) else ""
                yield f"  {kind}{path}.{name}{signature(function)}"
            else:
                yield f"  {path}.{name}"
    elif inspect.isroutine(value):
        yield f"{'async ' if inspect.iscoroutinefunction(value) else ''}{path}{signature(value)}"
    elif isinstance(value, str | int | float | bool):
        yield f"{path} = {value!r}"
    else:
        yield f"{path}: {type(value).__name__}"


def members(cls: type) -> set[str]:
    """Return the public attributes of *cls* that the package gives it, over all its bases."""
    names: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "flagmw":
            names |= {name for name in {**vars(base), **inspect.get_annotations(base)} if name[0] != "_"}
    return names


def shown(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f": {field.type} = {plain(field.default)}"
    return f": {field.type}" + (" = ..." if field.default_factory is not dataclasses.MISSING else "")


def signature(thing: Any) -> str:
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return "(...)"
    empty = inspect.Parameter.empty
    parts = []
    star = False
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        prefix = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        kind = "" if parameter.annotation is empty else f": {annotated(parameter.annotation)}"
        default = "" if parameter.default is empty else f" = {plain(parameter.default)}"
        parts.append(f"{prefix}{parameter.name}{kind}{default}")
    result = "" if found.return_annotation is empty else f" -> {annotated(found.return_annotation)}"
    return f"({', '.join(parts)}){result}"


def annotated(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def plain(value: Any) -> str:
    """Return a default as text that is the same in every process and does not say where a class is made."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    text = repr(value)
    return value.__name__ if hasattr(value, "__name__") else "..." if " at 0x" in text else text


def commands() -> Iterator[str]:
    """Yield each command of `flagmw` with its options."""
    import typer

    from flagmw.cli.main import app

    def walk(command: Any, path: str) -> Iterator[str]:
        options = sorted("/".join([*each.opts, *each.secondary_opts]) for each in command.params)
        yield f"{path}: {' '.join(options)}"
        context = typer.Context(command)
        for name in sorted(command.list_commands(context) if hasattr(command, "list_commands") else ()):
            yield from walk(command.get_command(context, name), f"{path} {name}")

    yield from walk(typer.main.get_command(app), "flagmw")


def text() -> str:
    return "".join(f"{line.rstrip(': ')}\n" for line in lines())


if __name__ == "__main__":
    SNAPSHOT.write_text(text(), "utf-8")
