"""A secret for one reader: HPKE (RFC 9180) to an X25519 key that the reader made for this one secret."""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from pydantic import SecretStr

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_INFO: Final = b"keyfuse/credential/"


def new_reader() -> tuple[SecretStr, str]:
    """A private key and its public one, hexadecimal, both for one secret."""
    key = X25519PrivateKey.generate()
    return SecretStr(key.private_bytes_raw().hex()), key.public_key().public_bytes_raw().hex()


def seal(secret: SecretStr, reader: str, about: str) -> str:
    """Hexadecimal. `about` binds it to what it is for: sealed for another request it does not open.

    >>> private, public = new_reader()
    >>> sealed = seal(SecretStr("sk-1"), public, "r1")
    >>> unseal(sealed, private, "r1").get_secret_value()
    'sk-1'
    """
    public = X25519PublicKey.from_public_bytes(bytes.fromhex(reader))
    return _SUITE.encrypt(secret.get_secret_value().encode(), public, info=_INFO + about.encode()).hex()


def unseal(sealed: str, private: SecretStr, about: str) -> SecretStr:
    """Raises ValueError when it was sealed to another reader or for something else, or is broken."""
    try:
        key = X25519PrivateKey.from_private_bytes(bytes.fromhex(private.get_secret_value()))
        return SecretStr(_SUITE.decrypt(bytes.fromhex(sealed), key, info=_INFO + about.encode()).decode())
    except (InvalidTag, ValueError):
        raise ValueError("it is sealed to somebody else, for something else, or is broken") from None
