"""Which networks belong together: one operator, one country behind NAT, the two stacks of one machine. Pure."""

from __future__ import annotations

from ipaddress import ip_network
from typing import NamedTuple


class Hood(NamedTuple):
    """A neighbourhood: as much of a place as two machines of one company mostly share."""

    version: int  # of IP; 0: no address is known
    network: str  # /16 or /32 around the address; empty where the operator is known
    asn: int  # 0: not known
    country: str

    @property
    def words(self) -> str:
        where = f"AS{self.asn}" if self.asn else self.network or "an unknown network"
        return f"{where} ({self.country})" if self.country else where


def hood_of(network: str, asn: int, country: str) -> Hood | None:
    """From an event's network (/24 or /48), operator and country; None where nothing is known.

    >>> hood_of("203.0.113.0/24", 0, "DE"), hood_of("203.0.113.0/24", 64500, "")
    (Hood(version=4, network='203.0.0.0/16', asn=0, country='DE'), Hood(version=4, network='', asn=64500, country=''))
    """
    if not network and not asn:
        return None
    try:
        found = ip_network(network) if network else None
    except ValueError:
        found = None
    version = found.version if found else 0
    around = str(found.supernet(new_prefix=16 if version == 4 else 32)) if found and not asn else ""
    return Hood(version, around, asn, country.strip().upper())


def related(one: Hood, other: Hood) -> bool:
    """Whether one key used from both says nothing: when in doubt it does not.

    >>> office, home = hood_of("203.0.113.0/24", 64500, "DE"), hood_of("198.51.100.0/24", 64501, "DE")
    >>> v6 = hood_of("2001:db8:1::/48", 64502, "DE")
    >>> related(office, home), related(office, v6), related(office, office._replace(country="NL"))
    (False, True, True)
    """
    countries_differ = bool(one.country and other.country and one.country != other.country)
    if one.version != other.version:  # one machine speaks both, often through two operators
        return not countries_differ
    if one.asn and other.asn:
        return one.asn == other.asn  # operators have exits in many countries
    if one.network and one.network == other.network:
        return True
    return not countries_differ and bool(one.country and other.country)
