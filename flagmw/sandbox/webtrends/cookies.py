"""Cookie values of the Webtrends emulator, encrypted and authenticated.

The form is the vendor's ("WT3", then URL-safe base64 with "~" for "="); what is inside is our own, as the
real one is not public. User and control cookies differ at every call; mode and conversion cookies are always
the same for an account, 8 and 12 bytes long, as in the vendor's samples.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import threading
from collections.abc import Mapping
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from flagmw.sandbox.webtrends.model import Account

PREFIX = "WT3"
MODES = ("normal", "staging")
_NONCE = 12


class BadCookie(Exception):
    """A cookie value that this account did not make; `stale` when it did, under a key that was replaced since."""

    def __init__(self, *, stale: bool) -> None:
        super().__init__("stale" if stale else "foreign")
        self.stale = stale


class CookieCodec:
    """Seal and open the cookie values of one account.

    Args:
        keys: 16-byte keys, the current one first, then the replaced ones that are still recognised.
    """

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._keys = keys
        self._ciphers = [AESGCM(key) for key in keys]

    def seal(self, name: str, payload: Mapping[str, Any]) -> str:
        """Return the encrypted value of the cookie *name*; different at every call."""
        nonce = os.urandom(_NONCE)
        return _wrap(nonce + self._ciphers[0].encrypt(nonce, orjson.dumps(payload), name.encode()))

    def open(self, name: str, value: str) -> dict[str, Any]:
        """Return the content of *value*; plain values (made with `_wt.encrypted: false`) are read too.

        Raises:
            BadCookie: it is malformed, changed, of another cookie or account, or of a replaced key.
        """
        if value.startswith("{"):
            return _loads(value.encode())
        raw = _unwrap(value)
        for n, cipher in enumerate(self._ciphers):
            try:
                text = cipher.decrypt(raw[:_NONCE], raw[_NONCE:], name.encode())
            except (InvalidTag, ValueError):
                continue
            if n:
                raise BadCookie(stale=True)
            return _loads(text)
        raise BadCookie(stale=False)

    def mode(self, mode: str) -> str:
        """Return the mode cookie's value: one 8-byte block, always the same for account and mode."""
        return _wrap(_tag(self._keys[0], f"mode:{mode}")[:8])

    def read_mode(self, value: str) -> str:
        """Return "normal" or "staging".

        Raises:
            BadCookie: it is no mode cookie of this account.
        """
        for mode in MODES:
            if hmac.compare_digest(value.encode(), self.mode(mode).encode()) or value == mode:
                return mode
        old = [_wrap(_tag(key, f"mode:{mode}")[:8]) for key in self._keys[1:] for mode in MODES]
        raise BadCookie(stale=value in old)

    def conversion(self) -> str:
        """Return the value of every conversion cookie: callers ignore it, so nothing is in it."""
        return _wrap(_tag(self._keys[0], "conversion")[:12])


class KeyRing:
    """The cookie keys of all accounts. Thread-safe.

    A key follows from domain id, key token and the number of rotations, so that cookies outlive a restart of
    the sandbox as they outlive one of the vendor's servers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rotations: dict[int, int] = {}
        self._codecs: dict[int, tuple[str, int, CookieCodec]] = {}
        self._old: dict[int, tuple[bytes, ...]] = {}

    def codec(self, account: Account) -> CookieCodec:
        """Return the codec for *account*; keys of a replaced token or rotation are kept as old ones."""
        domain = account.domain_id
        with self._lock:
            turn = self._rotations.get(domain, 0)
            held = self._codecs.get(domain)
            if held and held[:2] == (account.key_token, turn):
                return held[2]
            if held:
                self._old[domain] = (_derive(domain, held[0], held[1]), *self._old.get(domain, ()))[:8]
            codec = CookieCodec((_derive(domain, account.key_token, turn), *self._old.get(domain, ())))
            self._codecs[domain] = (account.key_token, turn, codec)
            return codec

    def rotate(self, account: Account, *, forget: bool = False) -> None:
        """Change the key of *account*; with *forget*, its old cookies are not even recognised as its own."""
        self.codec(account)
        with self._lock:
            self._rotations[account.domain_id] = self._rotations.get(account.domain_id, 0) + 1
            if forget:
                self._old.pop(account.domain_id, None)
                self._codecs.pop(account.domain_id, None)

    def reset(self) -> None:
        """Return to the keys of a fresh sandbox."""
        with self._lock:
            for table in (self._rotations, self._codecs, self._old):
                table.clear()


def _derive(domain_id: int, token: str, turn: int) -> bytes:
    return hashlib.sha256(f"flagmw sandbox cookie key\n{domain_id}\n{token}\n{turn}".encode()).digest()[:16]


def _tag(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _wrap(raw: bytes) -> str:
    return PREFIX + base64.urlsafe_b64encode(raw).decode().replace("=", "~")


def _unwrap(value: str) -> bytes:
    if not value.startswith(PREFIX) or "=" in value:
        raise BadCookie(stale=False)
    try:
        text = value[len(PREFIX) :].translate(str.maketrans("-_~", "+/="))
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise BadCookie(stale=False) from None


def _loads(text: bytes) -> dict[str, Any]:
    try:
        payload = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadCookie(stale=False) from None
    if not isinstance(payload, dict):
        raise BadCookie(stale=False)
    return payload
