"""Errors of the management clients.

    AdminError (a FlagmwError)
    ├── AuthError                 the vendor does not accept the credentials
    │   └── PermissionDeniedError they are accepted, but may not do this; `right` names what is missing
    ├── NotFoundError             there is no such resource
    ├── ConflictError             it exists already, or somebody else changed it
    ├── InvalidError              (also a ValueError) a value is wrong; `field` names it
    │   └── VersionError          the vendor does not serve this version of the resource
    ├── ThrottledError            too many calls; `seconds` says when to come again
    ├── AmbiguousError            a write may or may not have been done
    ├── UnreachableError          no answer came, and nothing was changed
    ├── ServerError               the vendor failed, and nothing was changed
    └── AnswerError               the vendor's answer cannot be read, and nothing was changed

Each text says what to do next. None holds a token, a secret or a body that was sent.
"""

from __future__ import annotations

from flagmw.exceptions import FlagmwError


class AdminError(FlagmwError):
    """A call of a management API failed.

    Attributes:
        operation: the client's method, "activities.ab.get"; empty for a call of the client's own, such as a token's.
        status: the HTTP status; None when no answer came or nothing was sent.
        code: the vendor's own code, as text; None when it gave none.
        request_id: the id under which the vendor's support finds the call; None when it gave none.
    """

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.status = status
        self.code = code
        self.request_id = request_id

    def __str__(self) -> str:
        details = [f"{name} {value}" for name, value in (("status", self.status), ("code", self.code)) if value]
        if self.request_id:
            details.append(f"request {self.request_id}")
        before = f"{self.operation}: " if self.operation else ""
        after = f" ({', '.join(details)})" if details else ""
        return f"{before}{self.args[0]}{after}"


class AuthError(AdminError):
    """The vendor does not accept the credentials."""


class PermissionDeniedError(AuthError):
    """The credentials are accepted, but may not do this.

    Attributes:
        right: the role or scope that the call needs; None when that is not known.
    """

    def __init__(self, message: str, *, right: str | None = None, **details: object) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]
        self.right = right


class NotFoundError(AdminError):
    """There is no such resource."""


class ConflictError(AdminError):
    """The resource exists already, or somebody else changed it meanwhile."""


class InvalidError(AdminError, ValueError):
    """A value is wrong, and nothing was changed.

    Attributes:
        field: where the value stands, "experiences[1].visitorPercentage"; None when the vendor did not say.
    """

    def __init__(self, message: str, *, field: str | None = None, **details: object) -> None:
        super().__init__(f"{field}: {message}" if field else message, **details)  # type: ignore[arg-type]
        self.field = field


class VersionError(InvalidError):
    """The vendor does not serve this version of the resource."""


class ThrottledError(AdminError):
    """Too many calls; nothing was changed.

    Attributes:
        seconds: how long to wait before the next call.
    """

    def __init__(self, message: str, *, seconds: float, **details: object) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]
        self.seconds = seconds


class AmbiguousError(AdminError):
    """A write may or may not have been done: read the resource before you write again."""


class UnreachableError(AdminError):
    """No answer came, and nothing was changed."""


class ServerError(AdminError):
    """The vendor failed, and nothing was changed."""


class AnswerError(AdminError):
    """The vendor's answer cannot be read, and nothing was changed."""
