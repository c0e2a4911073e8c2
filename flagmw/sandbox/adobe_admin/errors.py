"""Error answers of the emulated management APIs, in the vendor's shapes."""

from __future__ import annotations

import uuid
from typing import Any

from flagmw.sandbox.adobe_admin.dates import stamp


class ApiError(Exception):
    """A refusal by the Admin API itself.

    Args:
        field: of the body, where the mistake is in one.
    """

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.field = status, code, field

    def document(self, now: float) -> dict[str, Any]:
        """Return the answer's body."""
        error: dict[str, Any] = {"errorCode": self.code, "message": str(self)}
        if self.field is not None:
            error["meta"] = {"field": self.field}
        return {
            "httpStatus": self.status,
            "requestId": str(uuid.uuid4()),
            "requestTime": stamp(now, milliseconds=True),
            "errors": [error],
        }


class GatewayError(Exception):
    """A refusal by the gateway before the API."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code

    def document(self) -> dict[str, Any]:
        """Return the answer's body."""
        return {"error_code": self.code, "message": str(self)}


def invalid(field: str, message: str) -> ApiError:
    """Return the refusal of a body, whose *field* is wrong."""
    return ApiError(400, "Invalid.Value", f"{field}: {message}", field)


def missing(what: str, which: object) -> ApiError:
    """Return the refusal of something that is not there."""
    return ApiError(404, "NotFound", f"{what} {which} is not found")


def unsupported() -> ApiError:
    """Return the refusal of a version; this answer is printed in the documentation."""
    return ApiError(406, "Unsupported.Feature", "Unsupported features detected")
