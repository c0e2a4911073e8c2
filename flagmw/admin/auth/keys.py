"""Private keys that tokens are signed with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flagmw.exceptions import ConfigError


def load_private_key(given: str | bytes | Path, passphrase: str | None) -> Any:
    """Return the RSA key in *given*, PEM or the path of a PEM file.

    Raises:
        ConfigError: the file cannot be read, holds no RSA key, or the passphrase is wrong or missing.
        ImportError: the library for RSA is not installed.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise ImportError("signing needs cryptography: pip install 'flagmw[admin]'") from None
    if isinstance(given, Path) or (isinstance(given, str) and "-----BEGIN" not in given):
        try:
            pem = Path(given).read_bytes()
        except OSError as error:
            raise ConfigError(f"private_key: {given} cannot be read: {error.strerror}") from None
    else:
        pem = given.encode() if isinstance(given, str) else given
    try:
        key = load_pem_private_key(pem, None if passphrase is None else passphrase.encode())
    except TypeError:
        missing = passphrase is None
        cure = "give its passphrase" if missing else "it is not encrypted: leave the passphrase out"
        raise ConfigError(f"private_key: {cure}") from None
    except ValueError:
        raise ConfigError("private_key: it is no PEM of a private key, or the passphrase is wrong") from None
    if not isinstance(key, RSAPrivateKey):
        raise ConfigError("private_key: this is no RSA key; use an RSA key")
    return key
