"""Refusals of the emulated Management API, in the vendor's shapes."""

from __future__ import annotations

from typing import Any

# The code of a path that is not there.
ROUTE = "Not Found"


class ApiError(Exception):
    """A refusal.

    Args:
        code: the vendor's dotted code; "" for a message alone.
        field: of the body, where the mistake is in one.
    """

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.field = status, code, field

    def document(self) -> dict[str, Any]:
        """Return the answer's body."""
        if self.field is not None:
            return {"errors": {self.field: [{"code": self.code, "message": str(self)}]}}
        if self.code == ROUTE:
            return {"statusCode": self.status, "message": str(self), "error": self.code}
        return {"error": self.code, "message": str(self)} if self.code else {"message": str(self)}


def invalid(field: str, code: str, message: str) -> ApiError:
    """Return the refusal of a body, whose *field* is wrong."""
    return ApiError(400, code, message, field)


def missing(resource: str) -> ApiError:
    """Return the refusal of something that is not there."""
    return ApiError(404, f"personalize.{resource}.NOT_FOUND", f"{resource.capitalize()} not found")
