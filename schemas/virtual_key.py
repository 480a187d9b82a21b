"""Keyfuse's own keys: a prefix that scanners know, 190 bits, and a checksum that tells a slip without asking anybody.

`kfk_`, 32 letters and digits at random, and 6 with the CRC32 of all before them, as GitHub's tokens have it. The secret
is made by whoever asks for the key and shown to them once; everybody else knows only its fingerprint.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from pydantic import SecretStr

PREFIX: Final = "kfk_"
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM: Final = 32
_CHECK: Final = 6


def new_virtual_key(below: Callable[[int], int]) -> SecretStr:
    """A new secret. `below` draws a number under its argument at random, like `secrets.randbelow`.

    >>> new_virtual_key(lambda n: n - 1).get_secret_value()
    'kfk_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz34D1pY'
    """
    body = PREFIX + "".join(_ALPHABET[below(len(_ALPHABET))] for _ in range(_RANDOM))
    return SecretStr(body + _checksum(body))


def is_virtual_key(text: str) -> bool:
    """Whether it is one of Keyfuse's own, to the last letter. Whether it was ever issued, the registry knows.

    >>> is_virtual_key("kfk_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz34D1pY")
    True
    >>> is_virtual_key("kfk_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz34D1py"), is_virtual_key("sk-1234")
    (False, False)
    """
    if len(text) != len(PREFIX) + _RANDOM + _CHECK or not text.startswith(PREFIX) or not text.isascii():
        return False
    return text[-_CHECK:] == _checksum(text[:-_CHECK])


def last4(secret: SecretStr) -> str:
    """By which its owner knows it again; of the checksum, so it tells nothing more of the secret."""
    return secret.get_secret_value()[-4:]


def _checksum(body: str) -> str:
    rest, letters = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK):
        rest, digit = divmod(rest, len(_ALPHABET))
        letters = _ALPHABET[digit] + letters
    return letters
