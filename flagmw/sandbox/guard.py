"""Access to the sandbox: programs and pages of this machine only.

A developer's browser reaches loopback on behalf of any page that is open in it. So a request's Host has to be a name
of this machine, which a page cannot have whose own name was made to point here, and its Origin a page of this machine.
What changes the sandbox itself takes the sandbox's own origin, a program, or the control token.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from flagmw._cookies.domains import host_name
from flagmw._support.addresses import is_loopback, parsed
from flagmw.exceptions import ConfigError
from flagmw.sandbox.control import PREFIX

CONTROL_HEADER = "sandbox-token"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_SHOWN = frozenset(f"{PREFIX}/{name}" for name in ("health", "ledger", "faults", "scenario"))


@dataclass(frozen=True, slots=True)
class Access:
    """Who may talk to the sandbox.

    Attributes:
        hosts: further names by which it, and pages that use it, are reached.
        remote: whether it listens beyond this machine: addresses, and names without a dot, are then its own too.
        token: what control calls that change something have to bring in the header `Sandbox-Token`; None: only
            those of pages from elsewhere are refused.
    """

    hosts: frozenset[str] = frozenset()
    remote: bool = False
    token: str | None = None


PROGRAMS_AND_OWN_PAGES = Access()


def access(hosts: Iterable[str] = (), *, remote: bool = False, token: str | None = None) -> Access:
    """Return the senders that a sandbox with these options answers.

    Raises:
        ConfigError: a host is no name, or the token is empty or no header's value.
    """
    names = set()
    for host in hosts:
        name = host_name(host)
        if not name or "/" in host:
            raise ConfigError(f"allow_hosts: {host!r} is no host name; write it as sandbox.example, without a scheme")
        names.add(name)
    if token is not None and not (token and token.isascii() and token.isprintable()):
        raise ConfigError("control_token must be printable ASCII, one character at least")
    return Access(frozenset(names), remote, token)


class Guard:
    """Refuse requests that a web page from elsewhere sends, or sends through a developer's browser.

    Args:
        for_pages: says whether a path is of an emulated service that is there to be called by any site's pages.
    """

    def __init__(self, app: ASGIApp, access: Access, for_pages: Callable[[str], bool]) -> None:
        self._app, self._access, self._for_pages = app, access, for_pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        why = self._refusal(scope) if scope["type"] == "http" else None
        if why is None:
            await self._app(scope, receive, send)
            return
        body = orjson.dumps({"error": why})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope) -> str | None:
        """Return the reason why a request is refused, None for one that is not."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            # A second line of a name adds to the first: what is two hosts, or two origins, is no good one.
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        server = (scope.get("server") or ("",))[0] or ""
        host = headers.get("host")
        if host is not None and not self._is_own(host, server):
            return f"host: {host[:100]!r} is not the sandbox's; let it have that name with allow_hosts (--allow-host)"
        if self._for_pages(scope["path"]):
            return None
        sender = self._sender(scope, headers, host, server)
        if sender == "elsewhere":
            return "origin: a page from elsewhere may not use the sandbox; allow_hosts (--allow-host) lets its host"
        if not scope["path"].startswith(f"{PREFIX}/") or scope["method"] in _READING or sender == "same origin":
            return None
        if self._access.token is not None and hmac.compare_digest(
            headers.get(CONTROL_HEADER, "").encode(), self._access.token.encode()
        ):
            return None
        if sender == "page":
            return "origin: only the sandbox's own pages, and programs, may change it"
        if self._access.token is not None:
            return "token: this changes the sandbox; send its control token in the header Sandbox-Token"
        return None

    def _sender(self, scope: Scope, headers: Mapping[str, str], host: str | None, server: str) -> str:
        """Return the kind of sender: "program", "same origin", another "page" of this machine, or one "elsewhere"."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is None and site is None:
            # Old browsers send neither, but say which page a form is on.
            origin = headers.get("referer") if scope["method"] not in _READING else None
            if origin is None:
                return "program"
        if origin is not None:
            try:
                parts = urlsplit(origin)
                if parts.scheme == scope.get("scheme", "http") and parts.netloc.lower() == (host or "").lower():
                    return "same origin"
                near = parts.scheme in ("http", "https") and self._is_own(parts.netloc, server)
                return "page" if near else "elsewhere"
            except ValueError:
                return "elsewhere"
        if site in ("same-origin", "none"):
            return "same origin"
        if site == "same-site":
            return "page"
        # A link that is followed to what the sandbox shows.
        followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return "page" if followed and scope["method"] == "GET" and scope["path"] in _SHOWN else "elsewhere"

    def _is_own(self, authority: str, server: str) -> bool:
        """True when a host, with or without a port, is a name of this sandbox or of this machine."""
        name = host_name(authority)
        if not name:
            return False
        if is_loopback(name) or name.endswith(".localhost") or name == server.lower() or name in self._access.hosts:
            return True
        return self._access.remote and ("." not in name or parsed(name) is not None)
