"""What is fuzzed: functions of bytes that raise nothing, whatever the bytes are.

An exception that the function under test may raise by its contract is caught here; everything else, a broken
postcondition included, is a crash. Targets with several inputs take them as fields between 0x1E bytes.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from flagmw import Flagmw, Webtrends
from flagmw._cookies import header as cookie_header
from flagmw._exchange import saved_visitor as exchange_saved_visitor
from flagmw._web import response
from flagmw._web.inbound import URL_CHARS, USER_AGENT_CHARS, visit_of
from flagmw.codes import ErrorCode
from flagmw.config import Identity
from flagmw.exceptions import ProtocolError, TransportError
from flagmw.flags import track as tracks
from flagmw.types import CookieChange, Decision, Event, Reply, Visit, VisitorState
from flagmw.vendors.common.json import loads, loads_tolerant
from flagmw.vendors.webtrends.response import ALIAS, MAX_ELEMENTS, VALUE_CHARS

Target: TypeAlias = Callable[[bytes], None]

SAMPLES = Path(__file__).parents[3] / "tests" / "samples" / "webtrends"
ACCOUNT = 2490593
NOW = 1_800_000_000.0
SPLIT = b"\x1e"
MAKER_BYTES = 2048
BODY_BYTES = 64 * 1024

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SET_COOKIE = re.compile(r"[ -:<-~]*")


def ensure(held: object, promise: str) -> None:
    """Fail unless *held*; an `assert` would be gone under `python -O`."""
    if not held:
        raise AssertionError(promise)


def _vendor(**options: Any) -> Webtrends:
    return Webtrends(ACCOUNT, "0123456789abcdef", "https://www.mysite.com{path}", **options)


VENDORS = (_vendor(), _vendor(encrypted=False, session_cookies="timeout", serve_paused=True, at_most_once=True))
RULES = [VENDORS[0].cookies]
FLAGMW = Flagmw(vendors=[VENDORS[0]])
USER = f"_wt.user-{ACCOUNT}"


@dataclass(frozen=True)
class Request:
    """A request as an edge hands it over."""

    method: str = "GET"
    scheme: str = "http"
    path: str = "/"
    raw_path: str = "/"
    query: str = ""
    peer: str | None = None
    fields: Sequence[tuple[str, str]] = ()

    def headers(self, name: str) -> list[str]:
        return [value for known, value in self.fields if known == name]

    def header(self, name: str) -> str | None:
        return next(iter(self.headers(name)), None)


# Cookies.


def cookie_reader(data: bytes) -> None:
    """Read Cookie headers: only the vendor's own names, printable, in bounds."""
    headers = [part.decode("latin-1") for part in data.split(SPLIT)]
    found = cookie_header.read(headers, RULES)
    ensure(0 <= found.site_bytes <= sum(map(len, headers)), "the site's share is part of the header")
    taken = len(found.own[0]) + len(found.rejected)
    ensure(taken <= cookie_header.PAIRS_MAX, "at most 200 pairs are looked at")
    ensure(sum(len(n) + len(v) for n, v in found.own[0].items()) <= cookie_header.HEADER_MAX_BYTES, "at most 16 KiB")
    for name, value in found.own[0].items():
        ensure(RULES[0].reads(name) and not _CONTROL.search(name + value), "only sound cookies of the vendor's")
        ensure(name.isascii() and value.isascii() and ";" not in value, "only cookie octets")
        ensure(len(value) <= RULES[0].max_bytes, "no value is over the limit")


def set_cookie_writer(data: bytes) -> None:
    """Write Set-Cookie lines: whatever a vendor names, nothing breaks out of its place and the budget holds."""
    parts = [part.decode("utf-8", "surrogateescape") for part in data.split(SPLIT)]
    domain, lifetime, host, *rest = [*parts, "", "", ""]
    number = int(lifetime) if re.fullmatch(r"-?[0-9]{1,12}", lifetime) else None
    pairs = list(zip(rest[::2], rest[1::2], strict=False))[:60]
    for name, value in pairs:
        _one_line(name, value, number, domain or None)
    changes = tuple(CookieChange(name=n, value=v, max_age_s=number, domain=domain or None) for n, v in pairs)
    _settled(Visit(url="https://www.mysite.com/", host=host, now=NOW), Decision(vendor="webtrends", cookies=changes))


def _one_line(name: str, value: str, max_age_s: int | None, domain: str | None) -> None:
    allowed = cookie_header.writable(name, value, RULES[0]) is None
    try:
        line = cookie_header.format_set_cookie(
            name, value, max_age_s=max_age_s, domain=domain, secure=True, http_only=False
        )
    except ValueError:
        bare = domain is None
        ensure(not (allowed and bare), "what may be written can be written")
        return
    _sound_line(line)
    first = "Path=/" if max_age_s is None else "Max-Age="
    ensure(line.startswith(f"{name}={value}; {first}"), "name and value go out raw")


def _sound_line(line: str) -> None:
    first, *attributes = line.split(";")
    ensure(_SET_COOKIE.fullmatch(first), "a cookie is printable ASCII")
    known = re.compile(r" (Path=/|Max-Age=[0-9]{1,8}|Domain=[a-z0-9._-]+|Secure|HttpOnly|SameSite=Lax)")
    ensure(all(known.fullmatch(attribute) for attribute in attributes), "only attributes of our own")


def _settled(visit: Visit, decision: Decision) -> None:
    exchange = FLAGMW._exchange_of(visit)
    exchange.recorder.collect_only()  # never delivered
    flags = exchange.resolve([decision])
    repr(flags)
    for line in flags.set_cookies:
        _sound_line(line)
    kept = {n: v for n, v in exchange.visitor.cookies_after(0).items() if n not in visit.cookies}
    ensure(sum(len(n) + len(v) + 3 for n, v in kept.items()) <= 6144, "the cookie budget holds")
    ensure(len(kept) <= 40, "at most 40 cookies are kept")


# Answers.


def answer(data: bytes) -> None:
    """Read a raw answer of the vendor: a decision in bounds, and an outcome for a track."""
    head, body = (data[:1] or b"\0")[0], data[1:]
    _judged(Reply(status=(200, 200, 200, 404, 429, 500)[head % 6], headers={"retry-after": "1"}, body=body), head)


def built_answer(data: bytes) -> None:
    """Read an answer that is well-formed JSON of the vendor's words in any order and with any values."""
    maker = _Maker(data)
    body = orjson.dumps(maker.value(0))
    if len(body) <= BODY_BYTES:
        _judged(Reply(status=200, headers={}, body=body), len(data))


def _judged(reply: Reply, choice: int) -> None:
    vendor = VENDORS[choice % 2]
    cookies = {USER: "WT3u~", f"_wt.control-{ACCOUNT}-ta_A": "WT3c~"} if choice & 2 else {}
    visit = Visit(url="https://www.mysite.com/", host="www.mysite.com", cookies=cookies, now=NOW)
    decision, calls = _run(vendor.decide(visit, VisitorState(cookies)), reply)
    ensure(isinstance(decision, Decision) and calls <= 2, "one decision from two calls at most")
    ensure(len(decision.variants) <= MAX_ELEMENTS, "at most 200 variants")
    for alias, variant in decision.variants.items():
        ensure(ALIAS.fullmatch(alias) and alias == variant.alias, "an alias is printable ASCII")
        ensure(0 < len(variant.key) <= VALUE_CHARS, "a variant is in bounds")
        ensure(not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", variant.key), "a variant has no controls")
    ensure(all(isinstance(code, ErrorCode) for code in decision.misses.values()), "codes are of a closed set")
    ensure(decision.error is None or isinstance(decision.error, ErrorCode), "codes are of a closed set")
    ensure(decision.error is None or not decision.variants, "an error decides nothing")
    _settled(visit, decision)
    event = _event(visit, ("ta_A", "ta_B"))
    outcomes, _ = _run(vendor.deliver([event]), reply)
    ensure(len(outcomes) == 1, "one outcome per event")
    open_ = getattr(outcomes[0], "aliases", None)
    ensure(open_ is None or set(open_) < set(event.aliases), "what stays open was open before")


def _event(visit: Visit, aliases: tuple[str, ...]) -> Event:
    track = _track("purchase", {"revenue": 1.5})
    return Event(id="e", vendor="webtrends", kind="track", track=track, aliases=aliases, visit=visit, visitor_key="v")


def _run(flow: Any, reply: Reply) -> tuple[Any, int]:
    calls = 0
    try:
        call = next(flow)
        while True:
            calls += 1
            _sound_call(call)
            call = flow.send(reply)
    except StopIteration as stop:
        return stop.value, calls


def _sound_call(call: Any) -> None:
    for name, value in call.headers.items():
        ensure(not _CONTROL.search(name + value) and value.isascii(), "headers to the vendor are printable ASCII")
    ensure(re.fullmatch(r"[!-~]+", call.url) and call.url.startswith("https://ots."), "only the vendor is called")


def tolerant_json(data: bytes) -> None:
    """Parse JSON: a valid document as it is, a repaired one in bounds, else a protocol error."""
    try:
        strict: Any = (loads(data),)
    except ProtocolError as error:
        strict = error.code
    try:
        document = loads_tolerant(data)
    except ProtocolError as error:
        ensure(not isinstance(strict, tuple), "what is valid is taken")
        ensure(error.code in (ErrorCode.EMPTY, ErrorCode.NOT_JSON, ErrorCode.SHAPE), "a code of the parser's")
        return
    if isinstance(strict, tuple):
        ensure(orjson.dumps(document) == orjson.dumps(strict[0]), "what is valid stays what it is")
    else:
        ensure(
            strict is ErrorCode.NOT_JSON and b"\x00" not in orjson.dumps(document), "only what is broken is repaired"
        )


_WORDS = (
    "body", "params", "message", "errorCode", "errorMessage", "cookies", "factors", "name", "value", "operation",
    "opcode", "opstatus", "guid", "testAlias", "cookieDomain", "use1stPartyCookies", "timeout", "type", "r_type",
    "r_paused", "r_experimentID", "r_runID", "r_testID", "trackingGuid", "systemUID", "log",
    f"_wt.user-{ACCOUNT}", f"_wt.control-{ACCOUNT}-ta_A", f"_wt.mode-{ACCOUNT}", "_wt.conversion-1",
)  # fmt: skip
_LEAVES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 302, 303, 308, 318, 415, 601, 7776000000, 1 << 62, 1e300, -0.5, "", "process",
    "conversion", "success", "true", "persisted", "session", "target", "ta_A", "ta_B", ".mysite.com", "co.uk",
    "#wt-page-level-js", "WT3c~", "a;b", "a\r\nb", "\x1b[31m", "caf\xe9", "{\"a\":\n1}", "303", "1e9", " x ",
    "guid: 2490593-$ta_A, can occur", "x" * 9000, "x" * 1025,
)  # fmt: skip


class _Maker:
    """Make JSON values of bytes; when they are used up, the simplest there are."""

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data[:MAKER_BYTES])

    def _next(self) -> int:
        return next(self._bytes, 0)

    def value(self, depth: int) -> Any:
        kind = self._next()
        if depth < 6 and kind >= 144:
            return {self._word(): self.value(depth + 1) for _ in range(1 + kind % 8)}
        if depth < 6 and kind >= 96:
            return [self.value(depth + 1) for _ in range(kind % 8)]
        if kind == 95:
            return [{"opcode": "process", "params": {"testAlias": f"a{n}"}} for n in range(self._next() * 2)]
        return _LEAVES[kind % len(_LEAVES)]

    def _word(self) -> str:
        n = self._next()
        return _WORDS[n % len(_WORDS)] if n < 240 else str(_LEAVES[self._next() % len(_LEAVES)])


# Requests.

_CONFIGS = tuple(
    Flagmw(vendors=[VENDORS[0]], **options).config
    for options in (
        {},
        {"client_ip": "full", "referer": "full", "send_query": ["q", "page"]},
        {"client_ip": "off", "referer": "off", "trusted_proxies": ["0.0.0.0/0", "::/0"]},
        {"trusted_proxies": ["10.0.0.0/8"], "send_query": ["q"], "identify": lambda inbound: _identified(inbound)},
    )
)
_NAMES = ("host", "user-agent", "referer", "accept-language", "cookie", "x-forwarded-for", "x-forwarded-proto")


def _identified(inbound: Request) -> Identity:
    return Identity(user_id=inbound.query, data={"path": inbound.path})


def visit(data: bytes) -> None:
    """Make a visit of a request: clean, short, and sendable to the vendor as it is."""
    head = (data[:1] or b"\0")[0]
    texts = [part.decode("latin-1") for part in data[1:].split(SPLIT)] + [""] * 4
    peer, scheme, raw_path, query, *values = texts
    fields = [(_NAMES[n % len(_NAMES)], value) for n, value in enumerate(values[:40])]
    config = _CONFIGS[head % len(_CONFIGS)]
    request = Request("GET", scheme, raw_path or "/", raw_path, query, peer or None, fields)
    errors: list[Exception] = []
    found = cookie_header.read(request.headers("cookie"), RULES)
    states = [VisitorState(own) for own in found.own]
    made = visit_of(request, config, states, found.site_bytes, NOW, errors.append)
    ensure(all(isinstance(error, ValueError) for error in errors), "identify fails by its own contract only")
    ensure(re.fullmatch(r"https?://[!-~]+", made.url) and len(made.url) <= URL_CHARS + 300, "a URL in bounds")
    ensure(made.path.startswith("/") and re.fullmatch(r"[!-~]+", made.path), "a path is printable ASCII")
    for text, limit in ((made.user_agent, USER_AGENT_CHARS), (made.referer, 2048), (made.language, 256)):
        ensure(text is None or (text.isascii() and not _CONTROL.search(text)), "header texts are printable ASCII")
        ensure(text is None or len(text) <= limit, "header texts are in bounds")
    if made.client_ip is not None:
        address = ipaddress.ip_address(made.client_ip)
        ensure(config.client_ip != "off", "no address is told when that is off")
        kept = 24 if address.version == 4 else 48
        whole = int(address) == int(ipaddress.ip_network((address, kept), strict=False).network_address)
        ensure(config.client_ip == "full" or whole, "an anonymised address ends in zeros")
    ensure(config.referer != "off" or made.referer is None, "no referer is told when that is off")
    ensure(config.send_query or "?" not in made.url, "no query is told unless it is allowed")
    _sound_call(next(VENDORS[0].decide(made, states[0])))
    _again(exchange_saved_visitor.dump(made, [state.cookies for state in states]))


# Tracks.


def track_data(data: bytes) -> None:
    """Check what `track()` is told: taken within the limits and deliverable, or a ValueError."""
    metric, *rest = [*data.split(SPLIT)]
    values = [_typed(part) for part in rest[:130]]
    pairs = {_hashable(k): v for k, v in zip(values[::2], values[1::2], strict=False)}
    more = {"key": values[0], "value": values[-1], "currency": values[len(values) // 2]} if len(values) % 2 else {}
    try:
        made = _track(metric.decode("utf-8", "replace"), pairs, **more)
    except ValueError as error:
        ensure(not _CONTROL.search(str(error)), "an error's text is one line")
        return
    ensure(len(made.data) <= 50, "at most 50 entries")
    for name, value in made.data.items():
        ensure(isinstance(value, str | int | float), "only scalars")
        ensure(not _CONTROL.search(name) and not (isinstance(value, str) and _CONTROL.search(value)), "no controls")
    told = Event(
        id="e", vendor="webtrends", kind="track", track=made, aliases=("ta_A",), visit=Visit(url="https://a/"),
        visitor_key="v",
    )  # fmt: skip
    _sound_call(next(VENDORS[0].deliver([told])))


def _track(metric: str, data: Mapping[Any, Any], **more: Any) -> Any:
    options: dict[str, Any] = dict.fromkeys(("aliases", "vendors", "key", "value", "currency", "items"))
    return tracks.make_track(metric, data=data, **{**options, **more}, now=NOW)


def _typed(part: bytes) -> Any:
    """Return the value that a field stands for: its first byte names the type."""
    text = part[1:].decode("utf-8", "surrogateescape")
    try:
        match part[:1]:
            case b"i":
                return int(text[:400])
            case b"f":
                return float(text)
            case b"d":
                return Decimal(text)
            case b"j":
                return json.loads(text)
            case b"b":
                return part[1:]
            case b"n":
                return None
            case b"t":
                return len(text) % 2 == 0
    except (ValueError, ArithmeticError, RecursionError):
        pass
    return text


def _hashable(value: Any) -> Any:
    return str(value) if isinstance(value, list | dict) else value


def saved_visitor(data: bytes) -> None:
    """Load a saved visitor: the visit that was saved, which can convert, or a ValueError."""
    try:
        exchange_saved_visitor.load(data, NOW)
    except ValueError:
        return
    _again(data)


def _again(saved: bytes) -> None:
    """Convert with a saved visitor up to the call to the vendor."""
    visit = exchange_saved_visitor.load(saved, NOW)
    repr(visit)
    exchange = FLAGMW._exchange_of(visit)
    exchange.recorder.collect_only()  # never delivered
    before = exchange_saved_visitor.dump(visit, [visit.cookies])
    ensure(exchange_saved_visitor.load(before, NOW).cookies == visit.cookies, "a visitor can be saved again")
    exchange.recorder.track(
        "purchase", data=None, aliases=None, vendors=None, key=None, value=None, currency=None, items=None
    )
    for event in exchange.recorder.drain():
        flow = VENDORS[0].deliver([event])
        next(flow)
        try:
            flow.throw(TransportError(ErrorCode.CONNECT, sent=False))
        except StopIteration as stop:
            ensure(len(stop.value) == 1, "one outcome per event")


# Responses.

_FIELDS = (
    "Cache-Control", "vary", "Set-Cookie", "ETag", "cdn-cache-control", "Surrogate-Control", "Expires",
    "X-Accel-Expires", "Content-Type", "cache-control",
)  # fmt: skip


def response_headers(data: bytes) -> None:
    """Edit a response's headers: what is the visitor's own is private, all else of the application's stays."""
    head = (data[:1] or b"\0")[0]
    texts = [part.decode("latin-1") for part in data[1:].split(SPLIT)][:60]
    headers = [(_FIELDS[ord(text[0]) % len(_FIELDS)], text[1:]) for text in texts if text]
    cookies = [f"{USER}=WT3u~; Path=/; SameSite=Lax"] if head & 1 else []
    touched, status = bool(head & 2), (200, 204, 304, 101, 404, 500)[head // 4 % 6]
    edited = response.edit(headers, status, cookies, touched=touched)
    if edited is None:
        ensure(status in (304, 101) or not touched, "a response for which flags were read is edited")
        return
    ensure(status not in (304, 101), "304 and 1xx stay as they are")
    ensure(not response.shared_cacheable(edited), "shared caches may not keep it")
    control = [value for name, value in edited if name == "cache-control"]
    ensure(len(control) == 1 and re.search(r"\b(private|no-store)\b", control[0], re.I), "it says so")
    same = ("cache-control", "vary", "set-cookie")
    for name, value in edited:
        if name.lower() not in same:
            ensure((name, value) in headers, "no other field is made up")
    ours = [header for header in edited if header[0] == "set-cookie"]
    ensure(all(value in cookies for _, value in ours), "only our cookies are added")
    theirs = [header for header in headers if header[0] == "Set-Cookie"]
    ensure([header for header in edited if header[0] == "Set-Cookie"] == theirs, "the application's cookies stay")
    if touched:
        vary = ",".join(value for name, value in edited if name == "vary").lower()
        ensure("cookie" in vary or "*" in vary, "it varies by cookie")
    before = "".join(value for _, value in headers)
    ensure(not (set(_CONTROL.findall("".join(v for _, v in edited))) - set(before)), "no control byte is added")


TARGETS: dict[str, Target] = {
    "cookie-reader": cookie_reader,
    "set-cookie-writer": set_cookie_writer,
    "answer": answer,
    "built-answer": built_answer,
    "tolerant-json": tolerant_json,
    "visit": visit,
    "track-data": track_data,
    "saved-visitor": saved_visitor,
    "response-headers": response_headers,
}


# Seeds.


def seeds(name: str) -> list[bytes]:
    """Return what the fuzzer begins with."""
    bodies = [path.read_bytes() for path in sorted(SAMPLES.glob("*/body"))]
    control = f"_wt.control-{ACCOUNT}-ta_A".encode()
    user = USER.encode()
    saved = exchange_saved_visitor.dump(
        Visit(url="https://www.mysite.com/a", client_ip="198.51.100.0", user_id="u", data={"a": 1}, now=NOW),
        [{USER: "WT3u~", control.decode(): "WT3c~"}],
    )
    made: dict[str, list[bytes]] = {
        "cookie-reader": [
            user + b"=WT3u~; " + control + b"=WT3c~",
            user + b'="' + b'\\"' * 2000 + b'"',
            control + b' Project 1="WT3"; sid=1' + SPLIT + user + b"=a; " + user + b"=b",
            b";".join(b"%s%d=x" % (control, n) for n in range(250)),
            b"=;=;;" * 900 + user + b"=\r\nSet-Cookie: a=b",
            (user + b"=" + b"x" * 1020 + b"; ") * 20,
        ],
        "set-cookie-writer": [
            SPLIT.join([b".mysite.com", b"7776000", b"www.mysite.com", user, b"WT3u~", control, b"WT3c~"]),
            SPLIT.join([b"co.uk", b"0", b"www.mysite.co.uk", user, b"a; Domain=evil.example", control, b"\r\nX: y"]),
            SPLIT.join([b"mysite.com; Secure", b"-5", b"[::1]", b"sessionid", b"x", user, b"x" * 1024]),
            SPLIT.join([b"", b"999999999999", b"localhost",
                        *[b"%s%d\x1e%s" % (control, n, b"x" * 900) for n in range(50)]]),
        ],
        "answer": [b"\0" + body for body in bodies] + [b"\3" + body for body in bodies[:8]] + [b"\5<html>"],
        "built-answer": [bytes(range(256)), bytes(range(255, 0, -1)), b"\xff\x00" * 40, b"\x5f\xff",
                         b"\x91\x0a\x11" * 9],
        "tolerant-json": [*bodies, b"[" * 40 + b"]" * 40, b'{"a":"//",}', b"/**/" * 500, b'["\\',
                          b"{" + b'"a":1,' * 900],
        "visit": [
            SPLIT.join([b"\0198.51.100.23", b"https", b"/a%20b", b"q=1&x=2", b"www.mysite.com", b"Mozilla/5.0",
                        b"https://a.example/p?s=1", b"en", user + b"=WT3u~", b"1.2.3.4, 10.0.0.1", b"https"]),
            SPLIT.join([b"\x0110.0.0.1", b"http", b"//evil\x00/\xff", b"q=%zz&q=\xe9", b"[::1]:80", b"\x1b[31m" * 200,
                        b"http://[", b"\x80", b"", b"::ffff:1.2.3.4", b"HTTPS,http"]),
            SPLIT.join([b"\x02::1%eth0", b"wss", b"/" + b"%" * 3000, b"&" * 3000, b"a" * 300, b"", b"ftp://x/", b""]),
            SPLIT.join([b"\x0005.1.1.1", b"http", b"/", b""]),
            SPLIT.join([b"\x0310.1.1.1", b"ws", b"", b"\x85", b"..", b"x", b"", b"", b"", b"," * 2000, b"\t"]),
        ],
        "track-data": [
            SPLIT.join([b"purchase", b"srevenue", b"f49.9", b"sunits", b"i2", b"snew", b"t", b"sx", b"n"]),
            SPLIT.join([b"a\nb", b"s", b"fnan", b"i1", b"dInfinity", b"sa\xff", b"i" + b"9" * 300, b"j[1]",
                        b"j{}", b"b\0"]),
            SPLIT.join([b"m", *[b"sk%d\x1es%s" % (n, b"v" * 250) for n in range(50)]]),
            SPLIT.join([b"m", b"sorder-1", b"sEUR", b"d1e999999"]),
        ],
        "saved-visitor": [saved, saved.replace(b'"v":1', b'"v":2'), saved[:-9], b"{}", b"[]", b"", b'"x"',
                          saved.replace(b'"WT3u~"', b"1"), saved.replace(b'{"a":1}', b'{"a":[[null]]}')],
        "response-headers": [
            SPLIT.join([b"\x03", b"\x46public, max-age=60", b"GAccept", b"Ha=1; Path=/", b'I"x"']),
            SPLIT.join([b"\x03", b'\x46private="set-cookie, x", s-maxage=9', b"Jmax-age=60", b"K*"]),
            SPLIT.join([b"\x03", b'\x46no-store, a="\\', b"G*", b"LThu, 01 Dec 1994", b"M60", b"O,,public"]),
            SPLIT.join([b"\x01", b"H" + user + b"=mine"]),
        ],
    }  # fmt: skip
    return made[name]
