"""What an event may carry on: no secret leaves here, and an address has one spelling.

A text that looks like a provider's secret is fingerprinted where it names something (`key_id`, `event_id`) and
redacted everywhere else.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.event import MAX_TEXT
from schemas.fingerprint import FINGERPRINT, Fingerprinter
from schemas.redact import looks_secret, redact

FREE_TEXTS: Final = (
    "provider",
    "model",
    "endpoint",
    "error",
    "country",
    "user_agent",
    "user_id",
    "team",
    "app",
    "env",
)
# Every rule of schemas.redact begins with one of these; a test draws from the rules and holds this to it.
_SIEVE: Final = (
    r"(?:^|[^A-Za-z0-9]|\\[nrtbf]|%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4})"
    r"(?:sk-|sess-|xai-|pplx-|nvapi-|glpat-|pk-lf-|gsk_|hf_|r8_|gh[opsur]_|github_pat_|AQ\.|ya29\.)"
    r"|sk-(?:proj|svcacct|admin|ant|or|lf)|sk-[A-Za-z0-9_\-*]*[A-Z]"
    r"|AIza|kfk_|AKIA|ASIA|ABIA|ACCA|A3T|ABSK|bedrock-api-key-|xox[a-z]|xapp|hooks\.slack|whsec_|whsk_|eyJ|PRIVATE KEY"
    r"|(?i:authorization|bearer|x-(?:[a-z]+-)?(?:api-key|auth-token|subscription-token))"
    r"|(?i:password|passwd|client_secret|secret_access_key|token=|sig=|signature=|secret=)|://"
)
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
# An IPv4 address in its one spelling, as nearly all come, and its /24; `ipaddress` takes seven times as long.
_USUAL: Final = re.compile(rf"({_OCTET}\.{_OCTET}\.{_OCTET}\.){_OCTET}")
_V4_REST: Final = (1 << 8) - 1  # /24
_V6_REST: Final = (1 << 80) - 1  # /48

Rows = np.ndarray[tuple[int], np.dtype[np.intp]]


def suspects(values: list[str]) -> list[str]:
    """Those in which a secret is thinkable: a coarse sieve over a whole column, for the fine one is slow."""
    return [values[row] for row in suspect_rows(pa.array(values, pa.string())).tolist()]


def suspect_rows(texts: pa.Array) -> Rows:
    """The rows of `suspects`, among texts without nulls."""
    found = pc.match_substring_regex(texts, _SIEVE)
    return np.flatnonzero(found.to_numpy(zero_copy_only=False))


def named(value: str, fingerprinter: Fingerprinter) -> str:
    """A name as it is, or the fingerprint of a secret that was given as one."""
    if FINGERPRINT.fullmatch(value) or not looks_secret(value):
        return value
    return fingerprinter.of(value)


def text(value: str) -> str:
    """Free text without secrets, never longer than a text may be."""
    return redact(value)[:MAX_TEXT] if looks_secret(value) else value


def address(value: str) -> str | None:
    """The usual spelling of an address, IPv4 out of its IPv6 mapping, without zone; ValueError for none.

    >>> address("::ffff:203.0.113.7"), address("2001:DB8:0::1%eth0"), address("")
    ('203.0.113.7', '2001:db8::1', None)
    """
    if _USUAL.fullmatch(value):
        return value
    return str(_parsed(value)) if value else None


def network(value: str) -> str:
    """The /24 or /48 an address belongs to: what an origin is compared by.

    >>> network("203.0.113.7"), network("2001:db8:1:2::3")
    ('203.0.113.0/24', '2001:db8:1::/48')
    """
    if usual := _USUAL.fullmatch(value):
        return f"{usual[1]}0/24"
    found = _parsed(value)
    if isinstance(found, IPv4Address):
        return f"{IPv4Address(int(found) & ~_V4_REST)}/24"
    return f"{IPv6Address(int(found) & ~_V6_REST)}/48"


def _parsed(value: str) -> IPv4Address | IPv6Address:
    found = ip_address(value)
    if isinstance(found, IPv6Address):
        return found.ipv4_mapped or IPv6Address(int(found))
    return found
