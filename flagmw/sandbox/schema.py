"""Parser of plain mappings (TOML, JSON) into frozen dataclasses.

Every vendor's part of a scenario is described by dataclasses alone; this is the one loop that fills them.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from flagmw.exceptions import ConfigError

T = TypeVar("T")

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def build(cls: type[T], raw: object, where: str) -> T:
    """Build a *cls* from the mapping *raw*.

    Args:
        cls: a dataclass whose field types are scalars, literals, mappings of scalars, tuples or dataclasses.
        raw: what the TOML or JSON reader gave.
        where: the path to *raw* in the file, for messages.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type; the text names the field.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{where}: expected a table, got {_shown(raw)}")
    known, hints = _described(cls)
    for key in raw:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; {hint(str(key), known)}")
    for name, field in known.items():
        if name not in raw and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{where}: {name} is required; add it")
    values = {key: _convert(hints[key], value, f"{where}.{key}") for key, value in raw.items()}
    try:
        return cls(**values)
    except ConfigError as error:  # from __post_init__, which does not know where in the file it is
        raise ConfigError(f"{where}: {error}") from None


def hint(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about the unknown *word*: the nearest known one, else all of them."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(sorted(names))}"


def _described(cls: Any) -> tuple[dict[str, Field[Any]], dict[str, Any]]:
    return {field.name: field for field in fields(cls) if field.init}, get_type_hints(cls)


def _convert(hinted: Any, value: object, where: str) -> Any:
    origin, args = get_origin(hinted), get_args(hinted)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{where}: {_shown(value)} is not allowed; {hint(str(value), [str(a) for a in args])}")
        return value
    if origin in (Union, types.UnionType):
        return _union(args, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: expected a list, got {_shown(value)}")
        return tuple(_convert(args[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: expected a table, got {_shown(value)}")
        return {str(key): _convert(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if is_dataclass(hinted) and isinstance(hinted, type):
        return build(hinted, value, where)
    if hinted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hinted in _WORDS and type(value) is not hinted:  # bool is an int in Python and never in a file
        raise ConfigError(f"{where}: expected {_WORDS[hinted]}, got {_shown(value)}")
    return value


def _union(args: tuple[Any, ...], value: object, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    kinds = [arg for arg in args if arg is not type(None)]
    if len(kinds) == 1:
        return _convert(kinds[0], value, where)
    if type(value) not in kinds:
        raise ConfigError(f"{where}: expected {' or '.join(_WORDS[k] for k in kinds)}, got {_shown(value)}")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
