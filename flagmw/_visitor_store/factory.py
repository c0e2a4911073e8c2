"""Choice of the visitor store from the option."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from flagmw._valkey.url import parse
from flagmw._visitor_store.base import VisitorStore
from flagmw._visitor_store.sqlite import SqliteVisitors
from flagmw.exceptions import ConfigError


def open_store(option: str | VisitorStore) -> VisitorStore:
    """Return the store that `visitor_store=` names. Connects to nothing yet.

    Raises:
        ConfigError: it is the address of no store.
    """
    if not isinstance(option, str):
        return option
    parts = urlsplit(option)
    if parts.scheme == "sqlite":
        directory = unquote(parts.path)
        if parts.netloc or parts.query or len(directory) < 2:
            raise ConfigError('visitor_store must name a directory, such as "sqlite:///var/lib/shop/flagmw"')
        return SqliteVisitors(directory)
    from flagmw._support.encryption import cipher_from_environment
    from flagmw._valkey.visitors import ValkeyVisitors

    address = parse(option)
    store: VisitorStore = ValkeyVisitors(address, seal=cipher_from_environment(address.key_env))
    return store
