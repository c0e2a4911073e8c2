"""Periodic fetch of the rules of on-device decisioning, outside of requests.

Source: Adobe Target developer guide, "Rule artifact": a JSON file on Adobe's content network, answered with an ETag.
"""

from __future__ import annotations

from flagmw.codes import ErrorCode
from flagmw.exceptions import ProtocolError, TransportError
from flagmw.types import Call, Flow
from flagmw.vendors.adobe.on_device.rules import Rules, libraries
from flagmw.vendors.common.http_status import retry_after, status_fault
from flagmw.vendors.common.json import loads

RETRY_S = 10.0


class Artifact:
    """The rules of the last successful fetch; a failed fetch keeps them.

    Args:
        poll_s: seconds between two fetches; a failed one is repeated sooner, with growing pauses.

    Raises:
        ConfigError: the libraries that rules need are not installed.
    """

    def __init__(self, url: str, client: str, property_token: str | None, vendor: str, poll_s: float) -> None:
        libraries()  # at the start, when a missing library can still be reported
        self.url = url
        self.rules: Rules | None = None
        self.fault: ErrorCode | None = None
        self._client, self._property, self._vendor, self._poll_s = client, property_token, vendor, poll_s
        self._etag: str | None = None
        self._wait_s = RETRY_S

    def refresh(self, now: float) -> Flow[float]:
        """Fetch the rules if they have changed; return the seconds until the next fetch."""
        headers = {"accept": "application/json", "accept-encoding": "gzip"}
        if self._etag is not None and self.rules is not None:
            headers["if-none-match"] = self._etag
        try:
            reply = yield Call(method="GET", url=self.url, headers=headers, replay_safe=True)
        except TransportError as error:
            return self._failed(error.code)
        if reply.status == 304 and self.rules is not None:
            return self._fetched()
        code, _ = status_fault(reply)
        if code is not None:
            return self._failed(code, retry_after(reply))
        try:
            self.rules = Rules(loads(reply.body, most=None), self._client, self._property, self._vendor)
        except ProtocolError as error:
            return self._failed(error.code)
        self._etag = reply.headers.get("etag")
        return self._fetched()

    def _fetched(self) -> float:
        self.fault, self._wait_s = None, RETRY_S
        return self._poll_s

    def _failed(self, code: ErrorCode, asked_s: float | None = None) -> float:
        self.fault = code
        wait_s, self._wait_s = self._wait_s, min(self._wait_s * 2, self._poll_s)
        return max(wait_s, asked_s or 0.0)
