"""Networks that policies name, and which addresses lie in them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from typing import Final

Span = tuple[int, int]
"""IPv4 addresses as numbers, the first and the last."""
EVERYWHERE: Final[tuple[Span, ...]] = ((0, 2**32 - 1),)


def within(text: str, networks: Sequence[str]) -> bool:
    """Whether an address is in one of these networks; what is no address is in none.

    >>> within("::ffff:10.1.2.3", ["10.0.0.0/8"]), within("10.1.2.3 ", ["::/0"])
    (True, False)
    """
    address = _address(text)
    return address is not None and any(address in _network(network) for network in networks)


def spans(networks: Iterable[str]) -> tuple[Span, ...]:
    """The IPv4 addresses of these networks, in order and apart.

    >>> spans(["10.0.0.128/25", "::/0", "10.0.0.0/25"]) == spans(["10.0.0.0/24"])
    True
    """
    known = {network for text in networks if isinstance(network := _network(text), IPv4Network)}
    return tuple((int(one[0]), int(one[-1])) for one in collapse_addresses(known))


def both(one: Sequence[Span], other: Sequence[Span]) -> tuple[Span, ...]:
    """What lies in both, in order.

    >>> both([(1, 5), (8, 9)], [(4, 8)])
    ((4, 5), (8, 8))
    """
    found, at, beside = list[Span](), 0, 0
    while at < len(one) and beside < len(other):
        first, last = max(one[at][0], other[beside][0]), min(one[at][1], other[beside][1])
        if first <= last:
            found.append((first, last))
        if one[at][1] < other[beside][1]:
            at += 1
        else:
            beside += 1
    return tuple(found)


@lru_cache(maxsize=16_384)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """None for what is none. A key's calls come from few addresses, and are judged by several lists."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network:
    """Read once: reading takes ten times as long as looking, and gates look before each call."""
    return ip_network(text, strict=False)
