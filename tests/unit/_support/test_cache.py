"""The cache of two generations: what was used lately stays, and it never takes more than its room."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from flagmw._support.cache import TwoGenerationCache


def test_what_is_used_stays() -> None:
    """One key that is looked at now and then outlives thousands that are not."""
    kept: TwoGenerationCache[int, str] = TwoGenerationCache(100, lambda _: 1)
    kept.put(-1, "used")
    for n in range(5_000):
        kept.put(n, "once")
        if n % 20 == 0:
            assert kept.get(-1) == "used"
    assert kept.get(0) is None
    assert kept.get(4_999) == "once"


def test_the_same_key_again_takes_no_more_room() -> None:
    """A value that is replaced a thousand times pushes nobody out."""
    kept: TwoGenerationCache[str, int] = TwoGenerationCache(20, lambda _: 1)
    kept.put("other", 0)
    for n in range(1_000):
        kept.put("same", n)
    assert kept.get("other") == 0
    assert kept.get("same") == 999


def test_too_large_for_half_is_not_kept() -> None:
    kept: TwoGenerationCache[str, bytes] = TwoGenerationCache(100, len)
    kept.put("small", b"x" * 10)
    kept.put("large", b"x" * 51)
    assert kept.get("large") is None
    assert kept.get("small") is not None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 60)), max_size=200))
def test_never_over_its_room(puts: list[tuple[int, int]]) -> None:
    """Whatever is put in, each generation stays within its half, and the latest that fits is found."""
    kept: TwoGenerationCache[int, int] = TwoGenerationCache(100, lambda weight: weight)
    for key, weight in puts:
        kept.put(key, weight)
        assert sum(kept._young.values()) == kept._weight <= 50
        assert sum(kept._old.values()) <= 50
        if weight <= 50:
            assert kept.get(key) == weight


def test_from_many_threads() -> None:
    """Threads that put and get at once neither fail nor find what belongs to another key."""
    kept: TwoGenerationCache[int, int] = TwoGenerationCache(200, lambda _: 1)
    wrong: list[int] = []

    def work(first: int) -> None:
        for n in range(first, first + 3_000):
            kept.put(n % 300, n % 300)
            found = kept.get((n * 7) % 300)
            if found is not None and found != (n * 7) % 300:
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n * 1_000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(kept._young) == kept._weight <= 100
