"""Decide which Domain attribute a cookie may carry on a host (RFC 6265 section 5.3, public suffixes)."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    # Loaded at first use: reading the list takes some 30 ms, and a host-only site never needs it.
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


def host_name(host: str) -> str:
    """Return *host* in lower case without port, brackets and a trailing dot; empty if it is no host name."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    host = host.partition(":")[0].rstrip(".")
    return host if _HOST.fullmatch(host) else ""


def is_address(host: str) -> bool:
    """Say whether *host* is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def canonical_domain(domain: str) -> str | None:
    """Return a cookie domain in the form that is compared and sent, or None if it is no domain name."""
    domain = domain.strip().lower().rstrip(".")
    domain = domain.removeprefix(".")
    if not domain or "." not in domain or is_address(domain):
        return None
    try:
        domain = domain.encode("idna").decode("ascii") if not domain.isascii() else domain
    except UnicodeError:
        return None
    return domain if _HOST.fullmatch(domain) and ".." not in domain else None


@lru_cache(maxsize=1024)
def cookie_domain(wish: str | None, host: str) -> str | None:
    """Return *wish* as a Domain attribute if *host* may set it, else None (a host-only cookie).

    It must equal the host or be a parent of it, and be no public suffix; an IP address or a name without a
    dot gets host-only cookies always.
    """
    if wish is None or "." not in host or is_address(host):
        return None
    domain = canonical_domain(wish)
    if domain is None or not (host == domain or host.endswith("." + domain)):
        return None
    return None if is_public_suffix(domain) else domain


def is_public_suffix(domain: str) -> bool:
    """Say whether anyone may register names directly below *domain* ("co.uk", "github.io")."""
    return bool(_suffixes().is_public(domain))
