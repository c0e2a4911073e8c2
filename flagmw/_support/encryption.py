"""Encryption of stored bodies with AES-256-GCM."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from typing import Protocol

from flagmw._support.secret import Secret
from flagmw.exceptions import ConfigError

_SEALED = b"\x01"  # no JSON begins with it
_ID_BYTES, _NONCE_BYTES, _KEY_BYTES = 4, 12, 32


class Cipher(Protocol):
    """Encryption of the bodies that a store writes."""

    def encrypt(self, body: bytes) -> bytes: ...

    def decrypt(self, stored: bytes) -> bytes:
        """Raises: Unreadable: it was encrypted with another key, or is damaged."""

    def digest(self, text: str) -> bytes:
        """Return a hash that is equal for equal texts and reveals nothing else."""


class PlainText:
    """No encryption: bodies are stored as they are."""

    def encrypt(self, body: bytes) -> bytes:
        return body

    def decrypt(self, stored: bytes) -> bytes:
        if stored.startswith(_SEALED):
            raise Unreadable("sealed, and no key is configured")
        return stored

    def digest(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class AesGcm:
    """AES-256-GCM (NIST SP 800-38D) with a random nonce per event. The first key encrypts, all of them decrypt.

    Raises:
        ConfigError: a key is no key, or the package `cryptography` is missing.
    """

    def __init__(self, keys: Sequence[Secret]) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ConfigError("outbox encryption needs cryptography: pip install 'flagmw[crypto]'") from None
        raw = [_key(key) for key in keys]
        if not raw:
            raise ConfigError("outbox encryption needs at least one key")
        self._ciphers = {_id(key): AESGCM(key) for key in raw}
        self._first = _id(raw[0])
        self._digest_key = Secret(base64.b64encode(hashlib.blake2b(raw[0], person=b"flagmw digest").digest()).decode())

    def encrypt(self, body: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        head = _SEALED + self._first
        return head + nonce + self._ciphers[self._first].encrypt(nonce, body, head)

    def decrypt(self, stored: bytes) -> bytes:
        if not stored.startswith(_SEALED):
            return stored
        from cryptography.exceptions import InvalidTag

        head, rest = stored[: 1 + _ID_BYTES], stored[1 + _ID_BYTES :]
        cipher = self._ciphers.get(head[1:])
        if cipher is None:
            raise Unreadable("sealed with another key")
        try:
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], head)
        except (InvalidTag, ValueError):
            raise Unreadable("damaged") from None

    def digest(self, text: str) -> bytes:
        key = base64.b64decode(self._digest_key.reveal())
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=key).digest()


def cipher_from_environment(variable: str | None) -> Cipher:
    """Return the cipher whose keys, base64 or hex and newest first, *variable* holds, separated by commas.

    Raises:
        ConfigError: the variable is not set, or what it holds is no key; the text quotes nothing of it.
    """
    if variable is None:
        return PlainText()
    value = os.environ.get(variable, "")
    keys = [Secret(part.strip()) for part in value.split(",") if part.strip()]
    if not keys:
        raise ConfigError(f"outbox: key_env names {variable}, which is not set; put 32 random bytes in base64 there")
    return AesGcm(keys)


def _key(secret: Secret) -> bytes:
    text = secret.reveal()
    for decode in (bytes.fromhex, base64.urlsafe_b64decode, base64.standard_b64decode):
        try:
            key = decode(text)
        except (ValueError, binascii.Error):
            continue
        if len(key) == _KEY_BYTES:
            return key
    raise ConfigError("an outbox key must be 32 random bytes, in base64 or hex")


def _id(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=_ID_BYTES, person=b"flagmw key id").digest()


class Unreadable(Exception):
    """These bytes are no event that this code can read: damaged, of a newer version, or under another key."""
