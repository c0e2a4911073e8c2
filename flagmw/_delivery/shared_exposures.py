"""Exposures reported by all machines that share one outbox."""

from __future__ import annotations

from flagmw._exchange.exposures import ReportedExposures
from flagmw.outbox.location import is_shared, parse


class SharedExposures:
    """Remember reported exposures on the Valkey server of the outbox, for all machines."""

    def __init__(self, address: str) -> None:
        from flagmw._valkey.exposures import ValkeySeen

        server = parse(address).server
        assert server is not None
        self._seen = ValkeySeen(server)

    def first(self, vendor: str, visitor: str, alias: str, variant: str, ttl_s: float, now: float) -> bool:
        return self._seen.first(vendor, visitor, alias, variant, ttl_s)

    def close(self) -> None:
        self._seen.close()


def open_exposures(outbox: object) -> ReportedExposures | None:
    """Return where exposures are remembered for all machines that share *outbox*; None where none do."""
    return SharedExposures(outbox) if isinstance(outbox, str) and is_shared(outbox) else None
