"""The bounded body, without any network."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from flagmw._transports.body import Body, Limits
from flagmw.exceptions import TransportError


def collect(data: bytes, step: int, body: Body) -> bytes:
    for start in range(0, len(data), step):
        body.feed(data[start : start + step])
    return body.finish()


@pytest.mark.parametrize("step", [1, 2, 7, 64, 10_000])
def test_pieces_do_not_matter(step: int) -> None:
    """However the network cuts a body, the result is the same."""
    text = bytes(range(256)) * 20
    packed = gzip.compress(text[:1000]) + gzip.compress(b"") + gzip.compress(text[1000:])
    assert collect(text, step, Body(Limits())) == text
    assert collect(packed, step, Body(Limits(), ["gzip"])) == text


@pytest.mark.parametrize("cut", [1, 5, 9, 15])
def test_every_cut_of_a_gzip_stream_is_noticed(cut: int) -> None:
    """A gzip stream that lacks its last bytes is not taken for whole, nor is one that lacks its last member."""
    packed = gzip.compress(b"x" * 100)
    with pytest.raises(TransportError, match="ENCODING"):
        collect(packed[:-cut], 3, Body(Limits(), ["gzip"]))
    with pytest.raises(TransportError, match="ENCODING"):
        collect(packed + packed[:cut], 3, Body(Limits(), ["gzip"]))


@pytest.mark.parametrize("step", [1, 1000, 300_000])
def test_bomb_stops_at_the_limit(step: int) -> None:
    """Unpacking stops one byte past the limit, in whatever pieces the bomb comes."""
    bomb = zlib.compress(bytes(50 << 20), 9, 31)
    body = Body(Limits(decoded_bytes=10_000), ["gzip"])
    tracemalloc.start()
    try:
        with pytest.raises(TransportError, match="TOO_LARGE"):
            collect(bomb, step, body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_U24_a_bomb_is_known_by_how_it_swells() -> None:
    """A bomb is given up long before the limit; JSON that compresses well, however much of it, is not."""
    bomb = zlib.compress(bytes(50 << 20), 9, 31)
    tracemalloc.start()
    try:
        with pytest.raises(TransportError, match="TOO_LARGE"):
            collect(bomb, 16_384, Body(Limits(), ["gzip"]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300_000
    text = b"".join(b'{"alias": "ta_%d", "value": "variation"}' % n for n in range(10_000))[: Limits().decoded_bytes]
    assert collect(gzip.compress(text, 9), 16_384, Body(Limits(), ["gzip"])) == text


def test_announced_length() -> None:
    """Less than was announced is truncated; an announced length past the limit is refused unread."""
    with pytest.raises(TransportError, match="TRUNCATED"):
        collect(b"abc", 1, Body(Limits(), announced=4))
    assert collect(b"abc", 1, Body(Limits(), announced=3)) == b"abc"
    with pytest.raises(TransportError, match="TOO_LARGE"):
        Body(Limits(wire_bytes=10), spent=5, announced=6)


def test_headers_count_for_the_wire_limit() -> None:
    """What the headers took is not there for the body."""
    assert collect(b"12345", 1, Body(Limits(wire_bytes=10), spent=5)) == b"12345"
    with pytest.raises(TransportError, match="TOO_LARGE"):
        collect(b"123456", 1, Body(Limits(wire_bytes=10), spent=5))
