"""A browser's cookie store by RFC 6265bis, as far as domains, paths and lifetimes matter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass
class Kept:
    """A cookie as the browser keeps it."""

    name: str
    value: str
    domain: str
    host_only: bool
    path: str
    created: int


@dataclass
class Browser:
    """Keeps cookies of one host and its parents, and sends them back in a browser's order."""

    host: str = "www.mysite.com"
    cookies: list[Kept] = field(default_factory=list)
    _made: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    def take(self, lines: Iterable[str]) -> None:
        """Apply Set-Cookie values."""
        for line in lines:
            pair, *attributes = line.split(";")
            name, _, value = pair.partition("=")
            named = dict(attribute.strip().partition("=")[::2] for attribute in attributes)
            self.put(name.strip(), value.strip(), named.get("Domain"), named.get("Path", "/"), named.get("Max-Age"))

    def put(
        self, name: str, value: str, domain: str | None = None, path: str = "/", max_age: str | None = None
    ) -> None:
        """Set one cookie; a domain that is none of the host's is ignored, as browsers ignore the whole line."""
        where = (domain or self.host).removeprefix(".")
        if self.host != where and not self.host.endswith("." + where):
            return
        same = [c for c in self.cookies if (c.name, c.domain, c.host_only, c.path) == (name, where, not domain, path)]
        for cookie in same:
            self.cookies.remove(cookie)
        if max_age is None or int(max_age) > 0:
            # A cookie that is set again keeps its place in the order.
            created = same[0].created if same else next(self._made)
            self.cookies.append(Kept(name, value, where, not domain, path, created))

    def sends(self, path: str = "/") -> str:
        """Return the Cookie header for *path*: longer paths first, then what was there first."""
        fitting = [c for c in self.cookies if path == c.path or path.startswith(c.path.rstrip("/") + "/")]
        return "; ".join(f"{c.name}={c.value}" for c in sorted(fitting, key=lambda c: (-len(c.path), c.created)))

    def cookies_called(self, name: str) -> list[Kept]:
        """Return all forms of the cookie *name*."""
        return [cookie for cookie in self.cookies if cookie.name == name]

    def values(self, name: str) -> list[str]:
        """Return the values of all forms of the cookie *name*."""
        return [cookie.value for cookie in self.cookies_called(name)]
