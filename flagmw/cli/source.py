"""Source of a command's `Flagmw`: a file, variables, or an application's code."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import flagmw
from flagmw.config.config import FILE_VARIABLE
from flagmw.config.sources import names_vendors, read_file
from flagmw.exceptions import ConfigError
from flagmw.runtime import Flagmw

PLACES = (Path("flagmw.toml"), Path("pyproject.toml"))
CURES = "write flagmw.toml, name a file with --config, a Flagmw with --app module:name, or set FLAGMW_VENDORS__..."

_PACKAGE = str(Path(flagmw.__file__).parent) + os.sep
_IMPORTLIB = str(Path(importlib.__file__).parent) + os.sep
_surroundings: ContextVar[Callable[[], Flagmw] | None] = ContextVar("surroundings", default=None)


def flagmw_of(config: Path | None, app: str | None, options: Mapping[str, Any], *, cure: str = "") -> Flagmw:
    """Return the unstarted `Flagmw` that a command works with.

    Args:
        config: what `--config` says.
        app: what `--app` says.
        options: options of the command's, for a `Flagmw` that is made here.
        cure: a further way to give one.

    Raises:
        ConfigError: none is given, it cannot be read or imported, or it has no vendors.
    """
    if config is not None and app is not None:
        raise ConfigError("--config and --app were both given: a command takes one of them")
    host = surroundings()
    if app is not None:
        fm, where = imported(app), app
    elif config is None and host is not None:
        fm, where = host(), "the application's configuration"
    else:
        path = located(config)
        if path is None and not names_vendors(os.environ):
            raise ConfigError(f"no configuration: {CURES}{cure}")
        fm, where = Flagmw.from_mapping(options, file=path), str(path or "the environment")
    if not fm.config.vendors:
        raise ConfigError(f"{where} configures no vendors")
    return fm


def surroundings() -> Callable[[], Flagmw] | None:
    """Return what gives the `Flagmw` of the application that runs the command, such as `manage.py`."""
    return _surroundings.get()


@contextmanager
def within(application: Callable[[], Flagmw]) -> Iterator[None]:
    """Let commands work with the `Flagmw` of an application that runs them, unless an argument names another."""
    token = _surroundings.set(application)
    try:
        yield
    finally:
        _surroundings.reset(token)


def located(config: Path | None) -> Path | None:
    """Return the configuration file that is meant; None when there is none."""
    named = config or os.environ.get(FILE_VARIABLE)
    if named:
        return Path(named)
    # A pyproject.toml of a project that says nothing of flagmw is no configuration.
    return next((path for path in PLACES if path.is_file() and (path.name != "pyproject.toml" or _speaks(path))), None)


def imported(text: str) -> Flagmw:
    """Return the `Flagmw` that "module:name" names: the object, a mapping of its options, or a factory of either.

    Raises:
        ConfigError: it names none; the text says what was not found, and the nearest name.
    """
    name, colon, attribute = text.partition(":")
    if not colon or not name or not attribute:
        raise ConfigError(f'--app {text!r} is not "module:name", such as shop.flags:fm')
    # As `python -m` does: the modules of the folder that the command runs in.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    found: Any = _module(name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"--app {text!r}: {name} has no {attribute!r}{_candidates(found, part)}")
        found = getattr(found, part)
    return _made(text, found)


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"--app: there is no module {error.name!r}{_siblings(error.name)}") from None
        _refuse(f"importing {name!r}", error)
    except Exception as error:
        _refuse(f"importing {name!r}", error)


def _made(text: str, found: Any) -> Flagmw:
    # An application, such as FastAPI's, can be called too, and is no factory.
    is_factory = inspect.isroutine(found) or isinstance(found, functools.partial) or found is Flagmw
    is_factory = is_factory or (inspect.isclass(found) and issubclass(found, Flagmw))
    if is_factory:
        try:
            found = found()
        except Exception as error:
            _refuse(f"calling {text!r}", error)
    if inspect.iscoroutine(found):
        found.close()
        raise ConfigError(f"--app {text!r} is a coroutine: name a Flagmw, or a plain function that returns one")
    if isinstance(found, Mapping):
        return Flagmw.from_mapping(found)
    if not isinstance(found, Flagmw):
        what = "returned something" if is_factory else "is"
        raise ConfigError(
            f"--app {text!r} {what} of type {type(found).__name__}: name a Flagmw, its options, or a function that "
            "returns either"
        )
    return found


def _refuse(doing: str, error: BaseException) -> NoReturn:
    """Raise what a command says of a failure in the application's code, with the place in that code."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [
        frame
        for frame in frames
        if not frame.filename.startswith(("<", _PACKAGE)) and "importlib" not in frame.filename
    ]
    place = f" ({Path(theirs[-1].filename).name}, line {theirs[-1].lineno})" if theirs else ""
    raise ConfigError(f"--app: {doing} failed: {type(error).__name__}: {error}{place}") from None


def _siblings(name: str) -> str:
    """Return a hint at the module whose name is nearest to *name*."""
    parent, _, last = name.rpartition(".")
    where = [str(Path.cwd()), *sys.path] if not parent else list(getattr(sys.modules.get(parent), "__path__", ()))
    near = difflib.get_close_matches(last, {module.name for module in pkgutil.iter_modules(where)}, 1, 0.6)
    if near:
        return f"; did you mean {f'{parent}.' if parent else ''}{near[0]!s}?"
    return " in this folder; run the command where the application runs, or set PYTHONPATH" if not parent else ""


def _candidates(owner: Any, name: str) -> str:
    """Return a hint at what *owner* has instead of *name*."""
    names = [each for each in vars(owner) if not each.startswith("_")] if hasattr(owner, "__dict__") else []
    near = difflib.get_close_matches(name, names, 1, 0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    objects = [each for each in names if isinstance(getattr(owner, each, None), Flagmw)]
    return f"; it has: {', '.join(sorted(objects))}" if objects else "; it has no Flagmw at all"


def _speaks(path: Path) -> bool:
    """Return whether a pyproject.toml has a table of flagmw's, or cannot be read, which is told later."""
    try:
        return bool(read_file(path, "flagmw"))
    except ConfigError:
        return True
