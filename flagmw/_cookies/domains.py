"""Valid Domain attributes for a host (RFC 6265 section 5.3)."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

NAME_CHARS = 253  # RFC 1035 section 2.3.4, without the root's dot

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")
# Labels with a dot between them. Underscores are no part of host names by the book, but hosts have them.
_DOMAIN = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)+")


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    # Loaded at first use: reading the list takes some 30 ms, and a host-only site never needs it.
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


def public_suffix(name: str) -> str | None:
    """Return the public suffix of *name*, lower-case labels; None if its top level is not on the list."""
    suffix = _suffixes().publicsuffix(name, accept_unknown=False)
    return suffix or None


def host_name(host: str) -> str:
    """Return *host* in lower case without port, brackets and a trailing dot; empty if it is no host name."""
    host = host.strip().lower()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
        return host if ":" in host and "%" not in host and is_address(host) else ""
    host = host.partition(":")[0].rstrip(".")
    return host if _HOST.fullmatch(host) else ""


def is_address(host: str) -> bool:
    """Say whether *host* is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def in_url(host: str) -> str:
    """Return *host* as it is written in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def is_domain(name: str) -> bool:
    """Say whether *name* can stand in a Domain attribute: lower-case labels with a dot between them."""
    return len(name) <= NAME_CHARS and _DOMAIN.fullmatch(name) is not None


def canonical_domain(domain: str) -> str | None:
    """Return a cookie domain in the form that is compared and sent, or None if it is no domain name."""
    if len(domain) > NAME_CHARS + 2:  # a dot at either end
        return None
    domain = domain.strip().lower().rstrip(".").removeprefix(".")
    try:
        domain = domain.encode("idna").decode("ascii") if not domain.isascii() else domain
    except UnicodeError:
        return None
    return domain if is_domain(domain) and not is_address(domain) else None


def cookie_domain(wish: str | None, host: str) -> str | None:
    """Return *wish* as a Domain attribute if *host* may set it, else None (a host-only cookie).

    It must equal the host or be a parent of it, and be no public suffix; an IP address or a name without a
    dot gets host-only cookies always.
    """
    # What a vendor or a visitor wrote becomes a cache key only when it is short.
    if wish is None or len(wish) > NAME_CHARS + 2 or len(host) > NAME_CHARS or "." not in host:
        return None
    return _allowed(wish, host)


@lru_cache(maxsize=256)
def _allowed(wish: str, host: str) -> str | None:
    domain = None if is_address(host) else canonical_domain(wish)
    if domain is None or not (host == domain or host.endswith("." + domain)):
        return None
    return None if is_public_suffix(domain) else domain


def registrable_domain(host: str) -> str | None:
    """Return the widest domain that *host* may set cookies for, or None if there is only the host itself."""
    if not is_domain(host) or is_address(host):
        return None
    return _suffixes().privatesuffix(host)


def is_public_suffix(domain: str) -> bool:
    """Say whether anyone may register names directly below *domain* ("co.uk", "github.io")."""
    return bool(_suffixes().is_public(domain))


def domains_above(host: str) -> tuple[str, ...]:
    """Return the domains that *host* may name in a cookie, itself first; none for an address or a single label."""
    widest = registrable_domain(host)
    if widest is None:
        return ()
    labels = host.removesuffix(widest).rstrip(".").split(".") if host != widest else []
    domains = [".".join([*labels[place:], widest]) for place in range(len(labels))] + [widest]
    return tuple(domains)
