"""Turn a request into a `Visit`, cleaned and shortened."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from string import punctuation
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from flagmw._cookies.domains import host_name, in_url
from flagmw._support import addresses, hooks
from flagmw.config.config import Config, Identity
from flagmw.types import EMPTY, Inbound, Visit, VisitorState

USER_AGENT_CHARS = 512
URL_CHARS = 2048
LANGUAGE_CHARS = 256

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PATH = re.compile(r"/[!$-;=@-Z_a-z~\[\]]*")
_HALF_ESCAPE = re.compile(r"%[0-9A-Fa-f]?\Z")
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")
_IPV4 = re.compile(r"(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})")


def mounted(path: str, root: str) -> str:
    """Return a decoded *path* with the mount point *root*, which some servers leave in and others take out."""
    root = "/" + root.strip("/")
    return path if root == "/" or path == root or path.startswith(root + "/") else root + path


def mounted_raw(path: str, root: str) -> str:
    """As `mounted`, for a percent-encoded path, one character per byte."""
    decoded = unquote(path)
    return path if mounted(decoded, root) == decoded else quote("/" + root.strip("/")) + path


def visit_of(
    inbound: Inbound,
    config: Config,
    states: Sequence[VisitorState],
    site_cookie_bytes: int,
    now: float,
    failed: Callable[[Exception], None],
    fitted: Callable[[Identity], None] | None = None,
) -> Visit:
    """Return the visit of a request whose cookies were read already.

    Args:
        states: each vendor's own cookies.
        site_cookie_bytes: what the site's other cookies take of the header.
        failed: called when the application's `identify` raises; the visitor then has no identity.
        fitted: called with an identity of which details were changed or left out; may refuse it with a `ValueError`.
    """
    trusted = bool(config.trusted_proxies) and _is_trusted(inbound.peer, config)
    secure = (_forwarded_scheme(inbound) if trusted else None) or inbound.scheme
    secure_now = secure in ("https", "wss")
    host, path = host_of(inbound), clean_path(inbound.raw_path)
    query = _allowed_query(inbound.query, config.send_query) if config.send_query else ""
    identity = _identity(inbound, config, failed, fitted) if config.identify is not None else None
    return Visit(
        url=_url("https" if secure_now else "http", host, path, query),
        host=host,
        path=path,
        secure=secure_now,
        method=inbound.method,
        client_ip=_told_address(_client(inbound, config, trusted), config.client_ip),
        user_agent=_clean(inbound.header("user-agent"), USER_AGENT_CHARS),
        referer=_referer(inbound.header("referer"), config.referer),
        language=_clean(inbound.header("accept-language"), LANGUAGE_CHARS),
        cookies={name: value for state in states for name, value in state.cookies.items()},
        site_cookie_bytes=site_cookie_bytes,
        user_id=identity.user_id if identity else None,
        data=identity.data if identity else EMPTY,
        now=now,
    )


def is_secure(inbound: Inbound, config: Config) -> bool:
    """Say whether the visitor's connection is encrypted, as far as the server or a trusted proxy says."""
    trusted = bool(config.trusted_proxies) and _is_trusted(inbound.peer, config)
    return ((_forwarded_scheme(inbound) if trusted else None) or inbound.scheme) in ("https", "wss")


def host_of(inbound: Inbound) -> str:
    """Return the host that the visitor asked for, lower case and without port; "localhost" where that is unsound."""
    return host_name(inbound.header("host") or "") or "localhost"


def _identity(
    inbound: Inbound,
    config: Config,
    failed: Callable[[Exception], None],
    fitted: Callable[[Identity], None] | None,
) -> Identity | None:
    try:
        identity = None
        if config.identify is not None:
            identity = hooks.call("identify", config.identify, inbound, config.deadline_ms / 1000)
        if identity is not None and not isinstance(identity, Identity):
            raise TypeError("identify must return an Identity or None")
        if identity is not None and identity.changes is not None and fitted is not None:
            fitted(identity)
    except Exception as error:
        failed(error)
        return None
    return identity


def clean_path(raw: str) -> str:
    """Return a path that can stand in a URL: it begins with "/" and odd characters are percent-encoded.

    *raw* is what was sent, one character per byte.
    """
    if len(raw) <= URL_CHARS and _PATH.fullmatch(raw):
        return raw
    path = quote(raw[:URL_CHARS].lstrip("/"), safe="/%:@!$&'()*+,;=-._~[]", encoding="latin-1", errors="replace")
    return _cut("/" + path)


def _cut(url: str) -> str:
    return url if len(url) <= URL_CHARS else _HALF_ESCAPE.sub("", url[:URL_CHARS])


def _url(scheme: str, host: str, path: str, query: str) -> str:
    url = _cut(f"{scheme}://{in_url(host)}{path}")
    return url + query if len(url) + len(query) <= URL_CHARS else url


def _clean(text: str | None, limit: int) -> str | None:
    if not text:
        return None
    # What a server hands us is latin-1; anything beyond ASCII would not survive the way to the vendor.
    cleaned = _CONTROLS.sub("", text[:limit])
    return cleaned if cleaned.isascii() else cleaned.encode("ascii", "replace").decode()


def _allowed_query(query: str, allowed: Sequence[str]) -> str:
    if len(query) > URL_CHARS:
        query = query[:URL_CHARS].rpartition("&")[0]  # half a value is another value
    if not query.isascii():
        query = quote(query, safe=punctuation, encoding="latin-1", errors="replace")
    pairs = parse_qsl(query, keep_blank_values=True)[:100]
    sent_pairs = [(name, value) for name, value in pairs if name in allowed]
    return f"?{urlencode(sent_pairs)}" if sent_pairs else ""


def _referer(text: str | None, policy: str) -> str | None:
    if not text or policy == "off":
        return None
    text = _clean(text, URL_CHARS) or ""
    if policy == "full":
        return text
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        return None
    host = host_name(in_url(host))
    return f"{parts.scheme}://{in_url(host)}/" if host and parts.scheme in ("http", "https") else None


def _is_trusted(address: str | None, config: Config) -> bool:
    parsed = addresses.parsed(address or "")
    return parsed is not None and any(parsed in network for network in config.trusted_proxies)


def _forwarded_scheme(inbound: Inbound) -> str | None:
    values = inbound.headers("x-forwarded-proto")
    scheme = values[-1].rpartition(",")[2].strip().lower() if values else ""
    return scheme if scheme in ("http", "https", "ws", "wss") else None


def _client(inbound: Inbound, config: Config, trusted: bool) -> str | None:
    """Return the visitor's address: the peer, or through trusted proxies the first untrusted one from the right."""
    address = inbound.peer
    if not trusted:
        return address
    header = config.client_ip_header
    hops = ",".join(inbound.headers(header))[-4096:].split(",")
    for hop in reversed(hops):
        if header == "forwarded":
            hop = _for_of(hop)
        hop = _without_port(hop.strip())
        try:
            ipaddress.ip_address(hop)
        except ValueError:
            return address
        address = hop
        if not _is_trusted(hop, config):
            break
    return address


def _for_of(element: str) -> str:
    """Return the address in one element of a Forwarded header (RFC 7239); empty where it has none."""
    for pair in element.split(";"):
        name, _, value = pair.strip().partition("=")
        if name.lower() == "for":
            return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return ""


def _without_port(hop: str) -> str:
    """Return an address without port and brackets; some proxies write `192.0.2.1:4711` and `[2001:db8::1]:4711`."""
    match = _WITH_PORT.fullmatch(hop)
    return hop if match is None else match[1] or match[2]


def _told_address(address: str | None, policy: str) -> str | None:
    if address is None or policy == "off":
        return None
    match = _IPV4.fullmatch(address)
    if match and policy == "anonymised" and all(int(part) < 256 for part in match.groups()):
        return f"{match[1]}.{match[2]}.{match[3]}.0"
    parsed = addresses.parsed(address)
    if parsed is None:
        return None
    return str(parsed if policy == "full" else addresses.anonymised(parsed))
