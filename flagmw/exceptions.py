"""Every exception that flagmw raises.

    FlagmwError
    ├── ConfigError (also a ValueError)   an option is wrong; raised at start only
    ├── TransportError                    a call to a vendor did not bring a whole answer
    ├── ProtocolError                     a vendor answered something that its protocol does not allow
    └── OutboxError                       events cannot be stored

At request time nothing of this reaches the application: a failure becomes a default variant whose
`reason` and `error_code` say what happened.
"""

from __future__ import annotations

from flagmw.codes import ErrorCode


class FlagmwError(Exception):
    """The root of all exceptions of flagmw."""


class ConfigError(FlagmwError, ValueError):
    """An option is missing, unknown or has a value that cannot work; the text names the field and the cure."""


class TransportError(FlagmwError):
    """A call ended without a whole, readable answer.

    Args:
        code: what went wrong, for reasons, counters and the circuit breaker.
        sent: whether bytes of the request may have reached the vendor. `False` only when that is certain
            (refused, unresolved, no TLS): such a call can be repeated without counting anything twice.
    """

    def __init__(self, code: ErrorCode, *, sent: bool = True) -> None:
        super().__init__(code.value)
        self.code = code
        self.sent = sent


class ProtocolError(FlagmwError):
    """A vendor's answer breaks its own protocol.

    Args:
        code: the nearest error code, `PROTOCOL` where none is nearer.
    """

    def __init__(self, code: ErrorCode = ErrorCode.PROTOCOL) -> None:
        super().__init__(code.value)
        self.code = code


class OutboxError(FlagmwError):
    """The outbox cannot take or keep events; the text says what to do."""
