"""Refusals of Monetate's emulated management APIs, and the envelope of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Document = dict[str, Any]

SAYS = {
    400: "Validation error. One or more values were not in the correct format, or a required value was missing.",
    401: "The request did not include a token, or the token provided was invalid.",
    403: "The request included a token that has been revoked.",
    404: "The resource does not exist, or has been deleted.",
    429: "Too many requests to a rate-limited endpoint.",
    500: "Unknown error. Please try again.",
}


class Refusal(Exception):
    """A refusal; its text is the error's message, the usual one of its status where none is given.

    Args:
        field: of the body or the query, where the mistake is in one.
        errors: of several fields, instead of the one text.
    """

    def __init__(
        self, status: int, message: str = "", field: str | None = None, *, errors: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message or SAYS.get(status, "the request is refused"))
        self.status, self.field, self.errors = status, field, errors

    def document(self) -> Document:
        """Return the answer's body."""
        one: Document = {"message": str(self), **({"field": self.field} if self.field else {})}
        several: list[Document] = [{"message": text, "field": field} for field, text in self.errors]
        return envelope({}, self.status, errors=several or [one])


def envelope(
    data: Any, code: int = 200, *, errors: Sequence[Document] = (), warnings: Sequence[str] = (), **pages: Any
) -> Document:
    """Return an answer's body."""
    meta = {"code": code, **pages, "errors": list(errors), "warnings": [{"message": text} for text in warnings]}
    return {"meta": meta, "data": data}
