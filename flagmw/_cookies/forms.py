"""The forms in which a browser may hold one cookie: domain and path."""

from __future__ import annotations

from collections.abc import Iterator

from flagmw._cookies.domains import domains_above
from flagmw._cookies.header import is_path

_DOMAINS_MAX = 4
_DIRECTORIES_MAX = 4

Form = tuple[str | None, str]
"""Domain and path of a cookie; the domain is None for a cookie of the host alone."""

HOST_ONLY: Form = (None, "/")


def forms(host: str, path: str) -> Iterator[Form]:
    """Yield the forms in which a cookie can reach *path* on *host*, the usual ones first.

    They are many where names and paths are long, so that callers take as many as they have room for.
    """
    domains = domains_above(host)
    if len(domains) > _DOMAINS_MAX:
        domains = (domains[0], *domains[-_DOMAINS_MAX + 1 :])
    # The widest domain is what most integrations choose, then the host itself.
    sites = (None, *dict.fromkeys((*domains[-1:], *domains)))
    for site in sites:
        yield site, "/"
    for directory in _directories(path):
        for site in sites:
            yield site, directory


def _directories(path: str) -> Iterator[str]:
    """Yield the directories above *path*, the narrowest first: scripts without a path get the page's directory."""
    parts = path.strip("/").split("/")[: _DIRECTORIES_MAX + 1]
    for count in range(len(parts), 0, -1):
        directory = "/" + "/".join(parts[:count])
        if directory != "/" and is_path(directory):
            yield directory
            yield directory + "/"
