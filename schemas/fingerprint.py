"""How a secret becomes a name: HMAC-SHA256 under the install's pepper, versioned so that peppers can rotate."""

from __future__ import annotations

import hmac
import re
from typing import Final

from pydantic import SecretStr

VERSION: Final = "fp1:"
_CACHE_LIMIT: Final = 200_000
FINGERPRINT: Final = re.compile(r"fp1:[0-9a-f]{32}")


class Fingerprinter:
    """Turn secrets into `key_id`s; remembers what it has seen, because producers send the same few keys for ever.

    >>> Fingerprinter(SecretStr("pepper")).of("sk-test")
    'fp1:a84029a881ee3a5626797adc981f0106'
    """

    def __init__(self, pepper: SecretStr) -> None:
        self._pepper = pepper.get_secret_value().encode()
        self._known: dict[str, str] = {}

    def of(self, secret: str) -> str:
        """`fp1:` and 32 hex digits (128 bits): enough to be unique, useless without the pepper."""
        found = self._known.get(secret)
        if found is None:
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            digest = hmac.digest(self._pepper, secret.encode("utf-8", "surrogatepass"), "sha256")
            found = self._known[secret] = VERSION + digest[:16].hex()
        return found
