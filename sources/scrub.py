"""What an event may carry on: no secret leaves here, and an address has one spelling.

A text that looks like a provider's secret is fingerprinted where it names something (`key_id`, `event_id`) and
redacted everywhere else.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

from schemas.event import MAX_TEXT, UsageEvent
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
_V4_REST: Final = (1 << 8) - 1  # /24
_V6_REST: Final = (1 << 80) - 1  # /48


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
    return str(_parsed(value)) if value else None


def network(value: str) -> str:
    """The /24 or /48 an address belongs to: what an origin is compared by.

    >>> network("203.0.113.7"), network("2001:db8:1:2::3")
    ('203.0.113.0/24', '2001:db8:1::/48')
    """
    found = _parsed(value)
    if isinstance(found, IPv4Address):
        return f"{IPv4Address(int(found) & ~_V4_REST)}/24"
    return f"{IPv6Address(int(found) & ~_V6_REST)}/48"


def _parsed(value: str) -> IPv4Address | IPv6Address:
    found = ip_address(value)
    if isinstance(found, IPv6Address):
        return found.ipv4_mapped or IPv6Address(int(found))
    return found


def clean_event(event: UsageEvent, fingerprinter: Fingerprinter) -> dict[str, Any]:
    """A valid event as a native one that may be stored: `key` is gone, `key_id` is there, absent fields are absent."""
    fields = {name: value for name, value in event if value is not None}
    fields.pop("key", None)
    fields |= {field: text(fields[field]) for field in FREE_TEXTS if field in fields}
    if event.ip is not None:
        fields["ip"] = address(event.ip)
    fields["event_id"] = named(event.event_id, fingerprinter)
    name = event.key_id if event.key is None else fingerprinter.of(event.key.get_secret_value())
    fields["key_id"] = named(name or "", fingerprinter)
    return fields
