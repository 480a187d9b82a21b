"""What a provider said, fit for logs and people: short, on one line, without secrets."""

from __future__ import annotations

import re
from typing import Final

from pydantic import SecretStr

MAX_WORDS: Final = 300
MIN_PART: Final = 8
# Prefixes of the kinds of keys that a provider might quote back, also half masked; broad on purpose.
_KEY: Final = re.compile(
    r"(?:sk|rk|pk)-[\w\-*.…]{6,}|whsec_[\w+/=]{6,}|AIza[\w\-]{8,}|A(?:KIA|SIA)[A-Z2-7]{8,}|(?i:bearer)\s+\S+"
)


def redact(text: str, secret: SecretStr) -> str:
    """Replace our own secret and whatever looks like a key; cut at 300 characters.

    >>> redact("Incorrect API key provided: sk-admin-12****89.", SecretStr("hush"))
    'Incorrect API key provided: ***'
    """
    for own in _own(secret):
        text = text.replace(own, "***")
    return " ".join(_KEY.sub("***", text).split())[:MAX_WORDS]


def holds_key(text: str, secret: SecretStr) -> bool:
    """Whether our own secret, or what looks like a key, is in a text.

    >>> holds_key("tier=gold", SecretStr("hush")), holds_key("was sk-proj-abcdef", SecretStr("hush"))
    (False, True)
    """
    return _KEY.search(text) is not None or any(own in text for own in _own(secret))


def _own(secret: SecretStr) -> list[str]:
    """Our secret, and each long part of one that has several, as a signing secret has while it is changed."""
    whole = secret.get_secret_value()
    return [whole, *(part for part in whole.split() if len(part) >= MIN_PART)] if whole else []
