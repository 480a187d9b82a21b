"""Which addresses a channel may talk to. Pure.

An alert carries what an attacker wants to know, and a URL may be pointed at the inside of our own network. So: https,
except to this machine itself or to a receiver that the configuration calls internal; and never a metadata service.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from alerting.channels.errors import Reason, Refused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_METADATA: Final = frozenset(
    ipaddress.ip_address(each) for each in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")
)


def is_loopback(host: str) -> bool:
    """True when the host names this machine itself.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("127.0.0.1.example.com")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def checked_url(url: str, *, channel: str, internal: bool = False) -> str:
    """The URL, when a channel may use it. Refused otherwise, without showing it: its path may be a secret."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        raise Refused(channel, Reason.MISCONFIGURED, "the address is not a URL") from None
    if not host or parts.scheme not in ("http", "https"):
        raise Refused(channel, Reason.MISCONFIGURED, "the address must be a URL that starts with https://")
    if parts.username or parts.password:
        raise Refused(channel, Reason.MISCONFIGURED, "the URL must not hold a user name or password")
    if parts.scheme == "http" and not (internal or is_loopback(host)):
        raise Refused(channel, Reason.MISCONFIGURED, f"plain http to {host}: use https, or say `internal: true`")
    return url


def may_reach(address: str, *, host: str, internal: bool) -> bool:
    """Whether a resolved address is fit to be connected to; `host` is the name it was resolved from."""
    ip: Address = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip in _METADATA or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        return False
    if ip.is_loopback:
        return internal or is_loopback(host)
    return internal or ip.is_global
