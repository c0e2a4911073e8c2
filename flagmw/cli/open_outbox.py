"""Open an outbox for the commands; `flagmw purge`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from flagmw._exchange import saved_visitor
from flagmw._support.encryption import cipher_from_environment
from flagmw.cli.common import AppOption, ConfigOption, JsonOption, configured, fail
from flagmw.cli.text import say, say_json
from flagmw.outbox.base import DeadLetter, Outbox
from flagmw.outbox.factory import located, on_server
from flagmw.outbox.location import Location, parse
from flagmw.outbox.purge import is_of
from flagmw.outbox.sqlite.directory import Directory
from flagmw.runtime import Flagmw


@dataclass(frozen=True)
class Opened:
    """An outbox as the commands see it; `fm` is not started."""

    fm: Flagmw
    directory: Directory
    server: Outbox | None

    def dead(self, limit: int) -> list[DeadLetter]:
        """Return up to *limit* dead letters, newest first."""
        letters = [*self.directory.dead(limit), *(self.server.dead(limit) if self.server is not None else ())]
        return sorted(letters, key=lambda letter: -letter.at)[:limit]

    def everywhere(self, work: Callable[[Directory | Outbox], int]) -> int:
        """Do *work* on the files, then on the server: what was handed over meanwhile is there now; return the sum."""
        result = work(self.directory)
        return result if self.server is None else result + work(self.server)


@contextmanager
def opened(config: Path | None, app_path: str | None) -> Iterator[Opened]:
    """Open the outbox that the configuration names, beside the processes that use it."""
    fm = configured(config, app_path)
    location, directory = looked_up(fm)
    if directory is None:
        fail('outbox="memory://" keeps events inside the application: no other process can see them')
    if not Path(location.path).is_dir():
        fail(f"there is no outbox at {location.path!r}: nothing has been stored yet, or not by this configuration")
    server = on_server(location)
    try:
        yield Opened(fm, directory, server)
    finally:
        fm.close(1.0)
        if server is not None:
            server.close()


def looked_up(fm: Flagmw) -> tuple[Location, Directory | None]:
    """Return the outbox's location and its files; None for one that is in memory."""
    location_option = fm.config.outbox
    location = located(
        None if location_option is None else parse(location_option), [vendor.name for vendor in fm.config.vendors]
    )
    if location.scheme == "memory":
        return location, None
    return location, Directory(location.path, seal=cipher_from_environment(location.options.get("key_env")))


def purge(
    user_id: Annotated[str | None, typer.Option(help="The site's own id of the visitor.")] = None,
    visitor: Annotated[Path | None, typer.Option(help="A file that `flagmw decide --save` or the site wrote.")] = None,
    cookie: Annotated[
        list[str] | None,
        typer.Option("--cookie", "-b", help='A cookie that only this visitor has, "name=value".'),
    ] = None,
    config: ConfigOption = None,
    app_path: AppOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a visitor's queued and dead events; they are counted as PURGED.

    An event that is being sent at this moment may still reach the vendor.
    """
    with opened(config, app_path) as outbox:
        try:
            saved = saved_visitor.load(visitor.read_bytes(), time.time()) if visitor is not None else None
            matches = is_of(
                outbox.fm.config.vendors,
                user_ids=[id for id in (user_id, saved and saved.user_id) if id],
                saved=saved.cookies if saved is not None else {},
                cookies=_named(cookie),
            )
        except (OSError, ValueError) as error:
            fail(f"{error}: give --user-id, --visitor or --cookie")
        print_result(outbox.everywhere(lambda store: store.purge(matches, time.time())), "removed", as_json=as_json)


def print_result(events: int, done: str, *, as_json: bool) -> None:
    """Print how many *events* are now *done*."""
    if as_json:
        say_json({"events": events}, indent=None)
    else:
        say(f"{events} {done}")


def _named(cookies: list[str] | None) -> dict[str, str]:
    pairs = {}
    for cookie in cookies or ():
        name, equals, value = cookie.partition("=")
        if not equals or not value:
            raise ValueError('a cookie is "name=value"')
        pairs[name.strip()] = value.strip()
    return pairs
