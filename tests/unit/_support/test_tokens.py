"""Signed values that come back from visitors: what is accepted, and that nothing else ever is."""

from __future__ import annotations

import hmac
import json
import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flagmw._support.tokens import KEY_COMMAND, MAX_CHARS, SKEW_S, Keys
from flagmw.exceptions import ConfigError

NOW = 1_800_000_000.0
K1 = "k1-3f9a0c7be24d581690abcdef1234567890"
K2 = "k2-90fe1d2c3b4a596877a8b9c0d1e2f3a4b5"
KEYS = Keys([K1])
TOKEN = KEYS.sign("decision", {"d": "x"}, NOW, 300)


def foreign(header: dict[str, Any], claims: dict[str, Any], key: str = K1) -> str:
    """Make a token by hand, signed with HMAC-SHA256 whatever its header says."""
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = hmac.digest(key.encode(), b".".join(parts), "sha256")
    return b".".join([*parts, urlsafe_b64encode(signature).rstrip(b"=")]).decode()


GOOD = {"aud": "decision", "iat": int(NOW), "exp": int(NOW) + 300, "d": "x"}
HEADER = {"alg": "HS256", "typ": "JWT"}


def test_a_token_is_read_back() -> None:
    """What was signed comes back with what it was made for and when."""
    claims = KEYS.read("decision", TOKEN, NOW)
    assert claims == GOOD
    assert KEYS.read("decision", foreign(HEADER, GOOD), NOW) == GOOD


def test_rotation() -> None:
    """With k1, then k2 and k1, then k2 alone: tokens stay good while their key is listed; the newest signs."""
    before, during, after = Keys([K1]), Keys([K2, K1]), Keys([K2])
    old = before.sign("decision", {}, NOW, 300)
    new = during.sign("decision", {}, NOW, 300)
    assert [keys.read("decision", old, NOW) is not None for keys in (before, during, after)] == [True, True, False]
    assert [keys.read("decision", new, NOW) is not None for keys in (before, during, after)] == [False, True, True]


@pytest.mark.parametrize("place", range(0, len(TOKEN), 7))
def test_tampered_and_truncated(place: int) -> None:
    """One other character anywhere, or a part that is missing, makes it nothing."""
    other = "A" if TOKEN[place] != "A" else "B"
    assert KEYS.read("decision", TOKEN[:place] + other + TOKEN[place + 1 :], NOW) is None
    assert KEYS.read("decision", TOKEN[:place], NOW) is None
    assert KEYS.read("decision", TOKEN[place + 1 :], NOW) is None


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "empty"),
        ("..", "empty parts"),
        (TOKEN + "=", "padding"),
        (TOKEN + "\n", "a line's end"),
        (TOKEN + ".x", "a part too many"),
        ("é" + TOKEN, "beyond ASCII"),
        ("a" * 10_240, "10 KB of nothing"),
        (TOKEN + "A" * MAX_CHARS, "oversized"),
        (Keys([K2]).sign("decision", {}, NOW, 300), "another key"),
        (KEYS.sign("override", {}, NOW, 300), "made for something else"),
        (KEYS.sign("visitor", {}, NOW, 300), "made for something else"),
        (KEYS.sign("decision", {}, NOW - 1000, 300), "expired"),
        (KEYS.sign("decision", {}, NOW + 1000, 300), "not yet"),
        (foreign({"alg": "none", "typ": "JWT"}, GOOD), "alg none"),
        (foreign({"alg": "none", "typ": "JWT"}, GOOD).rpartition(".")[0] + ".", "alg none, unsigned"),
        (foreign({"alg": "HS512", "typ": "JWT"}, GOOD), "another algorithm"),
        (jwt.encode(GOOD, K1 * 2, "HS512"), "another algorithm and key"),
        (foreign({"typ": "JWT"}, GOOD), "no algorithm"),
        (foreign({**HEADER, "alg": ["HS256"]}, GOOD), "an algorithm that is a list"),
        (foreign({**HEADER, "crit": ["b64"], "b64": False}, GOOD), "critical extensions"),
        (foreign(HEADER, {k: v for k, v in GOOD.items() if k != "exp"}), "no end"),
        (foreign(HEADER, {k: v for k, v in GOOD.items() if k != "iat"}), "no beginning"),
        (foreign(HEADER, {k: v for k, v in GOOD.items() if k != "aud"}), "no purpose"),
        (foreign(HEADER, {**GOOD, "exp": "later"}), "an end that is a text"),
        (foreign(HEADER, {**GOOD, "exp": float("nan")}), "an end that is no number"),
        (foreign(HEADER, {**GOOD, "exp": None}), "an end that is null"),
        (foreign(HEADER, {**GOOD, "iat": []}), "a beginning that is a list"),
        (foreign(HEADER, [1]), "claims that are a list"),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_a_token_of_ours(token: str, why: str) -> None:
    """Everything else is nothing, and never an error."""
    assert KEYS.read("decision", token, NOW) is None, why


def test_deep_json_is_nothing() -> None:
    """A header of brackets alone, as deep as fits, is not followed into an error."""
    head = urlsafe_b64encode(b"[" * 1400).rstrip(b"=").decode()
    assert KEYS.read("decision", f"{head}.e30.{TOKEN.rpartition('.')[2]}", NOW) is None


@pytest.mark.parametrize(
    ("now", "good"),
    [
        (NOW - SKEW_S, True),
        (NOW - SKEW_S - 1, False),
        (NOW + 300 + SKEW_S - 1, True),
        (NOW + 300 + SKEW_S, False),
    ],
)
def test_clock_skew_of_a_minute_is_tolerated(now: float, good: bool) -> None:
    """A machine whose clock is a minute off, either way, still takes a token."""
    assert (KEYS.read("decision", TOKEN, now) is not None) is good


def test_I32_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the first or the last byte of a signature is wrong, the comparison is the constant-time one, once."""
    compared: list[tuple[bytes, bytes]] = []
    usual = hmac.compare_digest

    def watched(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return usual(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    head, _, signature = TOKEN.rpartition(".")
    raw = urlsafe_b64decode(signature + "=")
    for wrong in (bytes([raw[0] ^ 1]) + raw[1:], raw[:-1] + bytes([raw[-1] ^ 1])):
        token = f"{head}.{urlsafe_b64encode(wrong).rstrip(b'=').decode()}"
        assert KEYS.read("decision", token, NOW) is None
    assert [len(one) for pair in compared for one in pair] == [32] * 4


@settings(max_examples=2_000)
@given(st.one_of(st.binary(max_size=300), st.lists(st.binary(max_size=60), min_size=3, max_size=3)))
def test_I9_no_bytes_raise(data: bytes | list[bytes]) -> None:
    """Two thousand byte strings, among them such as look like tokens, are nothing and never an error."""
    if isinstance(data, list):
        text = ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in data)
    else:
        text = data.decode("latin-1")
    assert KEYS.read("decision", text, NOW) is None


# The alphabet alone: what passes the first look and reaches the library.
@settings(max_examples=500)
@given(st.text(string.ascii_letters + string.digits + "-_.", max_size=200), st.integers(0, len(TOKEN)))
def test_no_splice_of_a_good_token_is_good(text: str, place: int) -> None:
    """A good token with anything put into it is nothing."""
    spliced = TOKEN[:place] + text + TOKEN[place:]
    assert text == "" or KEYS.read("decision", spliced, NOW) is None


@pytest.mark.parametrize(
    "key",
    ["", "short", "a" * 64, "abcabcabc" * 8, b"\x00" * 64, "é" * 20],
)
def test_weak_keys_are_refused_with_the_command_that_makes_one(key: str | bytes) -> None:
    """A key that guards nothing does not start, and the text says how to make one without quoting it."""
    with pytest.raises(ConfigError) as refused:
        Keys([key])
    assert KEY_COMMAND in str(refused.value)
    assert not key or str(key) not in str(refused.value)


@pytest.mark.parametrize(
    "key",
    [
        "\udc80\udcff" + K1,  # what os.environ makes of bytes that are no text
        "-----BEGIN PRIVATE KEY-----\nMIIBVQIBADANBgkqhkiG9w0BAQEF\n-----END PRIVATE KEY-----",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 me@host",
    ],
)
def test_keys_that_cannot_sign_are_refused_at_the_start(key: str) -> None:
    """What the library would refuse at the first visitor's page is refused before there is one."""
    with pytest.raises(ConfigError, match="signing_keys"):
        Keys([key])


def test_keys_of_bytes() -> None:
    """Bytes are keys too, all 256 of them."""
    keys = Keys([bytes(range(64, 255))])
    assert keys.read("decision", keys.sign("decision", {}, NOW, 5), NOW) is not None
    assert bool(keys)
    assert not Keys([])


def test_keys_are_not_shown() -> None:
    """A representation, such as a traceback shows, holds no key."""
    keys = Keys([K1, K2])
    assert K1 not in repr(vars(keys))
    assert K2 not in repr(vars(keys))
