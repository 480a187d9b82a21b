"""What a provider said, fit for logs and people: short, on one line, without secrets."""

from __future__ import annotations

import re
from typing import Final

from pydantic import SecretStr

MAX_WORDS: Final = 300
# Prefixes of the kinds of keys that a provider might quote back, also half masked; broad on purpose.
_KEY: Final = re.compile(r"(?:sk|rk|pk)-[\w\-*.…]{6,}|AIza[\w\-]{8,}|A(?:KIA|SIA)[A-Z2-7]{8,}|(?i:bearer)\s+\S+")


def redact(text: str, secret: SecretStr) -> str:
    """Replace our own secret and whatever looks like a key; cut at 300 characters.

    >>> redact("Incorrect API key provided: sk-admin-12****89.", SecretStr("hush"))
    'Incorrect API key provided: ***'
    """
    own = secret.get_secret_value()
    clean = text.replace(own, "***") if own else text
    return " ".join(_KEY.sub("***", clean).split())[:MAX_WORDS]
