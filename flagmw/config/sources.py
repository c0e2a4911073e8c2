"""Options from TOML files, environment variables and tables."""

from __future__ import annotations

import difflib
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flagmw._support import hooks
from flagmw.exceptions import ConfigError
from flagmw.vendors.base import Vendor

logger = logging.getLogger("flagmw")

# By the type that a table names: the module and the class. Imported when one is made.
VENDOR_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "webtrends": "flagmw.vendors.webtrends:Webtrends",
        "adobe_target": "flagmw.vendors.adobe:AdobeTarget",
        "monetate": "flagmw.vendors.monetate:Monetate",
        "contentstack": "flagmw.vendors.contentstack:Contentstack",
        "static": "flagmw.vendors.static:Static",
    }
)
ENV_PREFIX = "FLAGMW_"
FILE_VARIABLE = "FLAGMW_CONFIG"

# These hold what no variable's text can name, with where they are given instead.
_ELSEWHERE = {
    "vendors": "in code or in a file",
    "on_decision": "in code",
    "on_event": "in code",
}
_JSON = frozenset(
    {
        "aliases",
        "conversions",
        "data",
        "defaults",
        "extra_params",
        "flag_map",
        "flags",
        "mboxes",
        "on",
        "page_events",
        "params",
        "profile_params",
    }
)
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" for a misspelt *name*, or a list of what there is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1, 0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names)}"


def read_file(path: Path, table: str) -> dict[str, Any]:
    """Return the options in a TOML file: all of it, or the table `[tool.<table>]` of a pyproject.toml.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    import tomllib

    try:
        document: Any = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {str(path)!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{str(path)!r} is not valid TOML: it must be UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{str(path)!r} is not valid TOML: {error}") from None
    if path.name != "pyproject.toml":
        return dict(document)
    for key in ("tool", table):
        document = document.get(key, {})
        if not isinstance(document, Mapping):
            raise ConfigError(f"{str(path)!r}: [tool.{table}] must be a table")
    return dict(document)


def apply_environment(
    options: dict[str, Any], vendors: list[Any], environ: Mapping[str, str], defaults: Mapping[str, Any]
) -> None:
    """Put what `FLAGMW_*` variables say into *options* and into the tables among *vendors*.

    `FLAGMW_VENDORS__WT__TYPE` adds a vendor named "wt" where none has that name. Such vendors follow the others, in
    the order of their names, since an environment has no order.

    Args:
        defaults: every option with its default, whose type says how a variable's text is read.

    Raises:
        ConfigError: a variable names no option, or its text is no value of it. The text is not repeated.
    """
    for name, kind in sorted(_types_in(environ).items()):
        if not any(_name_in_variables(entry) == name for entry in vendors):
            vendors.append({"type": kind, "name": name})
    for variable, text in environ.items():
        if not variable.startswith(ENV_PREFIX) or variable == FILE_VARIABLE:
            continue
        option, _, rest = variable[len(ENV_PREFIX) :].lower().partition("__")
        if option == "vendors" and rest:
            _vendor_variable(variable, rest, text, vendors)
        elif option in _ELSEWHERE:
            raise ConfigError(f"{variable} cannot be set: {option} is given {_ELSEWHERE[option]}")
        elif option in defaults and not rest:
            options[option] = _from_text(variable, text, defaults[option], option)
        else:
            raise ConfigError(f"environment variable {variable} names no option{nearest(option, defaults)}")


def _vendor_variable(variable: str, rest: str, text: str, vendors: Sequence[Any]) -> None:
    name, _, option = rest.partition("__")
    for entry in vendors:
        if _name_in_variables(entry) != name:
            continue
        if not isinstance(entry, dict):
            raise ConfigError(
                f"{variable} cannot change vendor {entry.name!r}, which was built in code: give it as a table"
            )
        if option == "type":
            entry["type"] = text.strip()
            return
        kind, entry_name = entry.get("type"), entry.get("name", entry.get("type"))
        accepted = _parameters(_vendor_type(kind)) if isinstance(kind, str) and kind in VENDOR_TYPES else {}
        if accepted and option not in accepted:
            raise ConfigError(f"{variable} names no option of vendor {entry_name!r}{nearest(option, accepted)}")
        entry[option] = _from_text(variable, text, accepted.get(option), option)
        return
    raise ConfigError(
        f"{variable} names a vendor {name!r} that is not configured: set {ENV_PREFIX}VENDORS__{name.upper()}__TYPE as "
        f"well ({', '.join(VENDOR_TYPES)}), or correct the name"
    )


def names_vendors(environ: Mapping[str, str]) -> bool:
    """Return whether variables describe a vendor."""
    return bool(_types_in(environ))


def _types_in(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the types that variables give to vendors, by the vendor's name in the variable."""
    types: dict[str, str] = {}
    for variable, text in environ.items():
        option, _, rest = variable.removeprefix(ENV_PREFIX).lower().partition("__")
        name, _, key = rest.partition("__")
        if variable.startswith(ENV_PREFIX) and option == "vendors" and key == "type" and name:
            types[name] = text.strip()
    return types


def _name_in_variables(entry: Any) -> str:
    """Return the name of a vendor, or of a table that describes one, in the spelling of variables."""
    name = entry.get("name", entry.get("type")) if isinstance(entry, dict) else getattr(entry, "name", "")
    return str(name).lower().replace("-", "_")


def warn_of_ignored(environ: Mapping[str, str], options: Iterable[str]) -> None:
    """Log the `FLAGMW_*` variables that would be options, because `Flagmw(...)` in code reads none of them."""
    known = {f"{ENV_PREFIX}{option.upper()}" for option in options} | {FILE_VARIABLE}
    ignored = sorted(name for name in environ if name in known or name.startswith(f"{ENV_PREFIX}VENDORS__"))
    if ignored:
        logger.warning(
            "Flagmw(...) reads no environment variables and ignores %s; use Flagmw.from_mapping({...}) to read them",
            ", ".join(ignored),
        )


def _from_text(variable: str, text: str, default: Any, option: str) -> Any:
    """Read an environment variable as the type that the option's default has."""
    word = text.strip().lower()
    if option == "cookie_secure" and word == "auto":
        return word
    if option in ("consent", "identify") or (option == "bots" and not word.isalnum()):
        try:
            return hooks.resolved(option, text.strip())
        except ConfigError:
            raise ConfigError(
                f'{variable} must name a function that can be imported, such as "package.module.function"'
            ) from None
    if isinstance(default, bool) or option == "cookie_secure":
        if word not in _WORDS:
            raise ConfigError(f"{variable} must be true or false")
        return _WORDS[word]

    # One vendor's option may be a word where another's of the same name is a table.
    as_json = option in _JSON and not isinstance(default, str)
    try:
        if isinstance(default, int):
            return int(text)
        if option in ("hedge_ms", "pool_size"):
            return int(text)
        if isinstance(default, float) or option in ("new_visitors_per_s", "max_rate"):
            return float(text)
        if as_json:
            return json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError(f"{variable} must be {'JSON' if as_json else 'a number'}") from None
    if option == "transport" and "," in text:
        return tuple(part.strip() or None for part in text.split(","))
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def make_vendor(table: Mapping[str, Any]) -> Vendor:
    """Return the vendor that a table such as `{"type": "webtrends", "domain_id": 1, ...}` describes.

    Raises:
        ConfigError: its type or an option is missing, unknown or wrong.
    """
    options = dict(table)
    kind = options.pop("type", None)
    if not isinstance(kind, str) or (kind not in VENDOR_TYPES and ":" not in kind):
        hint = nearest(str(kind), VENDOR_TYPES) if kind is not None else f"; there are: {', '.join(VENDOR_TYPES)}"
        raise ConfigError(f"a vendor's type is {'missing' if kind is None else f'unknown: {kind!r}'}{hint}")
    make = _vendor_type(kind)
    owner, accepted = f"vendor {options.get('name', kind)!r}", _parameters(make)
    for option in options:
        if option not in accepted:
            raise ConfigError(f"{owner}: unknown option {option!r}{nearest(str(option), accepted)}")
    missing = [name for name, default in accepted.items() if default is inspect.Parameter.empty and name not in options]
    if missing:
        raise ConfigError(f"{owner}: {', '.join(missing)} must be given")
    return make(**options)


def _vendor_type(kind: str) -> Callable[..., Vendor]:
    module, _, name = VENDOR_TYPES.get(kind, kind).partition(":")
    try:
        factory: Callable[..., Vendor] = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f'a vendor\'s type {kind!r} cannot be imported: write it as "package.module:Class" ({error})'
        ) from None
    if not callable(factory):
        raise ConfigError(f"a vendor's type {kind!r} is no class or function that makes a vendor")
    return factory


def _parameters(make: Callable[..., Vendor]) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in inspect.signature(make).parameters.items()}
