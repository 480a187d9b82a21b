"""Ed25519 signatures over orders, heads and archives. The one place that knows the library. Pure."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from pydantic import SecretStr


class Signer:
    """Holds a private key; shows nothing of it."""

    def __init__(self, secret: SecretStr) -> None:
        """From a PEM file's text (`openssl genpkey -algorithm ed25519`). ValueError for anything else."""
        try:
            key = load_pem_private_key(secret.get_secret_value().encode(), password=None)
        except (ValueError, TypeError):
            # What the library says may quote the text.
            raise ValueError("no private key in PEM form without a password") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("no Ed25519 key: make one with `openssl genpkey -algorithm ed25519`")
        self._key = key

    def __repr__(self) -> str:
        return f"Signer({self.public_key})"

    @property
    def public_key(self) -> str:
        """Hexadecimal, 64 digits: what others need to check a signature, and the key's name."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, data: bytes) -> str:
        """Hexadecimal; the same data always gives the same signature."""
        return self._key.sign(data).hex()


def private_key_from(seed: bytes) -> SecretStr:
    """The private key of 32 random bytes, in PEM form: what `openssl genpkey -algorithm ed25519` writes."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return SecretStr(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def is_signed(data: bytes, *, signature: str, public_key: str) -> bool:
    """Whether this key signed this data. Whose key it is, is not said. False for nonsense too."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), data)
    except (InvalidSignature, ValueError):
        return False
    return True


def public_key_of(text: str) -> str:
    """A public key as 64 hexadecimal digits, from those or from PEM. ValueError for anything else."""
    if "BEGIN" not in text:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(text.strip()))
        return text.strip().lower()
    key = load_pem_public_key(text.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("no Ed25519 key")
    return key.public_bytes_raw().hex()
