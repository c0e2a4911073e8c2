"""The notes that `on_call` gets for each call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CallNote:
    """How one call to a management API went. Holds no token and no body.

    Attributes:
        vendor: "adobe", "monetate", "contentstack".
        operation: the client's method, "activities.ab.get".
        template: the path with its names in braces, for metrics.
        url: the whole URL, secrets masked.
        status: None when no answer came.
        attempt: counts from 1.
        waited_s: how long the call waited for the limit, in seconds.
        request_id: the vendor's, None when it gave none.
        error: the name of the failure, None for a success.
        repeat_in_s: after how many seconds the call is repeated, None when this was the last attempt.
    """

    vendor: str
    operation: str
    method: str
    template: str
    url: str
    status: int | None
    attempt: int
    elapsed_s: float
    waited_s: float
    request_id: str | None = None
    error: str | None = None
    repeat_in_s: float | None = None

    def attributes(self) -> dict[str, str | int | float]:
        """Return the note as attributes of an OpenTelemetry span (semantic conventions for HTTP clients)."""
        found: dict[str, str | int | float | None] = {
            "http.request.method": self.method,
            "url.full": self.url,
            "url.template": self.template,
            "http.response.status_code": self.status,
            "http.request.resend_count": self.attempt - 1 or None,
            "error.type": self.error,
            "flagmw.vendor": self.vendor,
            "flagmw.operation": self.operation,
            "flagmw.request_id": self.request_id,
            "flagmw.waited_s": self.waited_s or None,
        }
        return {name: value for name, value in found.items() if value is not None}
