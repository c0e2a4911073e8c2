"""Bounded, decoded response bodies. No I/O."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from flagmw.codes import ErrorCode
from flagmw.exceptions import TransportError

_GZIP = 16 + zlib.MAX_WBITS
# A sane sender writes one member. Thousands of empty ones cost far more time than their bytes suggest.
_MEMBERS = 16
# Decompressed piece by piece. What swells beyond this ratio is no JSON that anybody wrote: several such answers at once
# would take their full size each before the limit ends them.
_PIECE = 64 * 1024
_RATIO = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a response's size and of the time to connect.

    Attributes:
        wire_bytes: what a call may receive in all, header lines and interim answers included.
        decoded_bytes: how long the body may be once it is decompressed.
        connect_s: seconds for one TCP connection attempt; never more than what is left of the deadline.
    """

    wire_bytes: int = 256 * 1024
    decoded_bytes: int = 512 * 1024
    connect_s: float = 0.1


LIMITS = Limits()


class Body:
    """Collect one body, decode it and enforce both limits.

    Args:
        encodings: the values of all Content-Encoding header lines.
        spent: bytes of the wire limit that are used up already.
        announced: the length that the headers promise, where they bind the sender to it.

    Raises:
        TransportError: `ENCODING` for an encoding that was not asked for, `TOO_LARGE` for an announced length.
    """

    def __init__(
        self, limits: Limits, encodings: Iterable[str] = (), *, spent: int = 0, announced: int | None = None
    ) -> None:
        self._limits = limits
        self._spent = spent
        self._announced = announced
        self._raw = 0
        self._decoded = 0
        self._parts: list[bytes] = []
        self._members = 0
        names = [name for line in encodings for name in (part.strip().lower() for part in line.split(",")) if name]
        self._gzip = names in (["gzip"], ["x-gzip"])
        if not self._gzip and any(name != "identity" for name in names):
            raise TransportError(ErrorCode.ENCODING)
        self._inflate = zlib.decompressobj(_GZIP) if self._gzip else None
        if announced is not None and spent + announced > limits.wire_bytes:
            raise TransportError(ErrorCode.TOO_LARGE)

    def feed(self, chunk: bytes) -> None:
        """Take the next raw bytes.

        Raises:
            TransportError: `TOO_LARGE` at the first byte past a limit, `ENCODING` for what is not gzip.
        """
        self._raw += len(chunk)
        if self._spent + self._raw > self._limits.wire_bytes:
            raise TransportError(ErrorCode.TOO_LARGE)
        if self._gzip:
            self._feed_gzip(chunk)
        else:
            self._keep(chunk)

    def finish(self) -> bytes:
        """Return the whole decoded body.

        Raises:
            TransportError: `TRUNCATED` when less came than was announced, `ENCODING` for an unfinished gzip stream.
        """
        if self._announced is not None and self._raw < self._announced:
            raise TransportError(ErrorCode.TRUNCATED)
        # Answers without content (204, HEAD) may name an encoding all the same.
        if self._inflate is not None and self._raw and not self._inflate.eof:
            raise TransportError(ErrorCode.ENCODING)
        return b"".join(self._parts)

    def _feed_gzip(self, data: bytes) -> None:
        while data:
            if self._inflate is None or self._inflate.eof:
                self._members += 1
                if self._members >= _MEMBERS:
                    raise TransportError(ErrorCode.ENCODING)
                self._inflate = zlib.decompressobj(_GZIP)
            try:
                # One byte more than there is room for: enough to know, too little to hurt.
                room = self._limits.decoded_bytes - self._decoded
                part = self._inflate.decompress(data, min(room + 1, _PIECE))
            except zlib.error as error:
                raise TransportError(ErrorCode.ENCODING) from error
            self._keep(part)
            data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if self._decoded > _PIECE and self._decoded > _RATIO * (self._raw - len(data)):
                raise TransportError(ErrorCode.TOO_LARGE)

    def _keep(self, part: bytes) -> None:
        self._decoded += len(part)
        if self._decoded > self._limits.decoded_bytes:
            raise TransportError(ErrorCode.TOO_LARGE)
        if part:
            self._parts.append(part)
