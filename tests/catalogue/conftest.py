"""The edges' fixtures serve here too."""

from tests.edges.conftest import _server, amake, edge, make, vendor

__all__ = ["_server", "amake", "edge", "make", "vendor"]
