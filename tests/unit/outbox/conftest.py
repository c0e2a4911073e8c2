"""Fixtures of the outbox contracts, for the unit tests of its parts."""

from tests.contracts.outbox.conftest import clock, make_event

__all__ = ["clock", "make_event"]
