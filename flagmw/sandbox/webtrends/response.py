"""Answers of the Webtrends emulator: elements, cookies, bytes.

Source: the samples of the Webtrends OTS REST API guide. One element is sent as an object, several as an array;
each element repeats the control cookies of those before it, and brings its own value of the user cookie.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from flagmw.sandbox.faults import Rule
from flagmw.sandbox.webtrends.codes import message
from flagmw.sandbox.webtrends.cookies import CookieCodec
from flagmw.sandbox.webtrends.decide import Control
from flagmw.sandbox.webtrends.model import Account, Test, Variation

Element = dict[str, Any]
_MODE_MS = 300_000
_CONVERSION_MS = 1_800_000


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who the user cookie says the visitor is. Times are milliseconds since the epoch."""

    uid: str
    session: str
    started_ms: int
    seen_ms: int

    @classmethod
    def meet(cls, payload: Mapping[str, Any] | None, now_ms: int, session_ms: int, rng: random.Random) -> Visitor:
        """Return the visitor of a user cookie, in a new session after *session_ms* of silence; else a new one.

        Raises:
            ValueError: the payload is none of ours.
        """
        session = str(now_ms * 1000 + rng.randrange(1_000_000))
        if payload is None:
            # Ids of the samples' size: past 2^53, so that a client that reads them as floats is found out.
            uid = str(rng.randrange(4_800_000_000_000_000_000, 4_900_000_000_000_000_000))
            return cls(uid, session, now_ms, now_ms)
        try:
            known = cls(payload["uid"], payload["sid"], int(payload["start"]), int(payload["last"]))
        except (KeyError, TypeError):
            raise ValueError("not a user cookie") from None
        if now_ms - known.seen_ms > session_ms:
            return cls(known.uid, session, now_ms, now_ms)
        return replace(known, seen_ms=now_ms)

    def payload(self) -> dict[str, Any]:
        """Return the JSON of the user cookie."""
        return {"uid": self.uid, "sid": self.session, "start": self.started_ms, "last": self.seen_ms}


class Answer:
    """The elements of one answer, in order.

    Args:
        account: whose answer it is; None while that is unknown, which gives errors without cookies.
        codec: makes the cookies' values.
        visitor: goes into the user cookie; None (an untrusted caller) gives no cookies at all.
        encrypted: False for plain cookie values.
        log: lines for `debug`; None without it.
    """

    def __init__(
        self,
        account: Account | None = None,
        codec: CookieCodec | None = None,
        visitor: Visitor | None = None,
        mode: str = "normal",
        *,
        encrypted: bool = True,
        log: list[str] | None = None,
    ) -> None:
        self.elements: list[Element] = []
        self._account, self._codec, self._visitor, self._mode = account, codec, visitor, mode
        self._encrypted = encrypted
        self._log = log
        self._kept: dict[str, Any] = {}

    def keep(self, alias: str, control: Control) -> None:
        """Let the control cookie of a project join this and all further elements."""
        assert self._account is not None
        name = f"_wt.control-{self._account.domain_id}-{alias}"
        self._kept[name] = self._cookie(self._account.control_timeout_ms, self._seal(name, control.payload()))

    def decision(self, alias: str, test: Test, variation: Variation) -> None:
        """Add the element of a decision; call `keep` first."""
        ids = ",".join(f"{test.id - n}=Unknown" for n in (75, 82))
        factors = [{"name": f.name, "operation": f.operation, "value": f.value} for f in variation.factors]
        body = {"cookies": self._cookies(), "factors": factors, "metadata": f'"{ids}"'}
        params = self._ids(alias, test, variation)
        self._add({"body": body, "opcode": "process", "opstatus": "success", "params": params})

    def conversion(self, alias: str, test: Test, variation: Variation) -> None:
        """Add the element of a counted conversion, with the cookie that callers are told to ignore."""
        assert self._account is not None and self._codec is not None
        name = f"_wt.conversion-{self._account.domain_id}-{alias}"
        self._kept[name] = {"timeout": _CONVERSION_MS, "type": "session", "value": self._codec.conversion()}
        body, params = {"cookies": self._cookies()}, self._ids(alias, test, variation)
        self._add({"body": body, "opcode": "conversion", "opstatus": "success", "params": params})

    def error(self, code: int, about: str = "") -> None:
        """Add an element without a decision; `opstatus` says success there too, as the vendor's does."""
        body = {"cookies": self._cookies(), "message": {"errorCode": code, "errorMessage": message(code, about)}}
        params = {"cookieDomain": self._account.cookie_domain} if self._account and self._visitor else {}
        self._add({"body": body, "guid": "NULL", "opstatus": "success", "params": params})

    def close(self) -> None:
        """Complete the elements, once all of them are known."""
        if self.elements and self._kept:
            # What projects behind the last element have to remember (a throttle) still has to reach the visitor.
            cookies = self.elements[-1]["body"]["cookies"]
            self.elements[-1]["body"]["cookies"] = {**self._kept, **cookies}
        if len(self.elements) > 1:
            for element in self.elements:
                if "opcode" in element:
                    more = {"cookieInspection": True, "use1stPartyCookies": True, "use3rdPartyCookies": False}
                    element["params"] = dict(sorted({**element["params"], **more}.items()))

    def _add(self, element: Element) -> None:
        if self._log is not None:
            element["log"] = "".join(f"[SERVER LOG] : {line}\n" for line in self._log)
        self.elements.append(element)

    def _ids(self, alias: str, test: Test, variation: Variation) -> dict[str, Any]:
        assert self._account is not None and self._visitor is not None
        domain, experiment = self._account.domain_id, variation.experiment_id
        return {
            "_wt_sessionID": self._visitor.session,
            "cookieDomain": self._account.cookie_domain,
            "guid": f"{domain}-{alias}-{test.run_id}-{experiment}",
            "r_experimentID": experiment,
            "r_paused": "true" if test.state == "paused" else "false",
            "r_runID": test.run_id,
            "r_runState": "TEST",
            "r_testID": test.id,
            "r_type": test.kind,
            "systemUID": self._visitor.uid,
            "testAlias": alias,
            "trackingGuid": f"1-{domain}-{test.id}-{test.run_id}-{experiment}",
        }

    def _cookies(self) -> dict[str, Any]:
        if self._account is None or self._codec is None or self._visitor is None:
            return {}
        mode = f"_wt.mode-{self._account.domain_id}"
        user = f"_wt.user-{self._account.domain_id}"
        mode_value = self._codec.mode(self._mode) if self._encrypted else self._mode
        return {
            **self._kept,
            mode: {"timeout": _MODE_MS, "type": "session", "value": mode_value},
            user: self._cookie(self._account.control_timeout_ms, self._seal(user, self._visitor.payload())),
        }

    def _cookie(self, timeout_ms: int, value: str) -> dict[str, Any]:
        return {"timeout": timeout_ms, "type": "persisted", "value": value}

    def _seal(self, name: str, payload: Mapping[str, Any]) -> str:
        assert self._codec is not None
        return self._codec.seal(name, payload) if self._encrypted else orjson.dumps(payload).decode()


def spoil(elements: Sequence[Element], rule: Rule, domain: str) -> None:
    """Put a fault's cookies into the elements."""
    for element in elements:
        cookies = element["body"]["cookies"]
        if rule.kind == "huge_cookie":
            name = rule.name or f"_wt.user-{domain}"
            cookie = {"timeout": 7_776_000_000, "type": "persisted", **cookies.get(name, {"value": "WT3"})}
            cookies[name] = {**cookie, "value": cookie["value"].ljust(rule.size(), "A")}
        elif rule.kind == "bad_cookie":
            bad = {
                "sessionid": "stolen",
                "_wt.user-999": "WT3foreign",
                f"_wt.control-{domain}-ta_Evil": "WT3a; Domain=evil.test\r\nX-Evil: 1",
                f"_wt.control-{domain}-x\r\nSet-Cookie: evil": "WT3b",
            }
            if rule.name is not None or rule.value is not None:
                bad = {rule.name or f"_wt.control-{domain}-ta_Evil": "WT3bad" if rule.value is None else rule.value}
            cookies.update({n: {"timeout": 1_800_000, "type": "persisted", "value": v} for n, v in bad.items()})


def render(elements: Sequence[Element], *, quirks: bool = False, fault: str = "") -> bytes:
    """Return the answer's bytes: an object for one element, an array for several.

    Args:
        quirks: print it as the vendor's guide prints its samples, which no strict parser reads.
        fault: "trailing_comma" or "comments" to do that everywhere in the answer.
    """
    loose = quirks or fault in ("trailing_comma", "comments")
    if not loose:
        return orjson.dumps(elements[0] if len(elements) == 1 else list(elements))
    texts = [orjson.dumps(element, option=orjson.OPT_INDENT_2).decode() for element in elements]
    # Line breaks never occur inside JSON strings, so patterns over lines cannot hit a value.
    if quirks:
        texts = [re.sub(r'(\n *"cookieDomain": "[^\n]*")(\n *\})', r"\1,\2", text) for text in texts]
    if fault == "trailing_comma":
        texts = [re.sub(r"([^\s{\[,])(\n *[}\]])", r"\1,\2", text) for text in texts]
    if fault == "comments" or (quirks and len(texts) > 1):
        texts = [re.sub(r'(\n *"testAlias": "[^\n]*)', r"\1 // the key", text) for text in texts]
    if len(texts) == 1:
        return (f"/* one result */\n{texts[0]}\n" if fault == "comments" else texts[0]).encode()
    joined = "".join(f"{text}, // end of result {n}\n" for n, text in enumerate(texts[:-1], 1)) + texts[-1]
    if fault == "trailing_comma":
        joined = joined.replace("// end of result", "// result") + ","
    return f"[\n{joined}\n]".encode()
