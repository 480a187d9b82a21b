"""Where the store is, from one line of configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from storage.errors import Rejected

DEFAULT_DATABASE: Final = "keyfuse"
_NATIVE_PORTS: Final = frozenset({9000, 9440})


@dataclass(frozen=True)
class Embedded:
    """chDB: the engine in this process. One path per process, one process per path."""

    path: str
    database: str


@dataclass(frozen=True)
class Server:
    """A ClickHouse server, by its HTTP interface."""

    host: str
    port: int
    user: str
    database: str
    tls: bool


def parse_dsn(dsn: str) -> Embedded | Server:
    """The place a DSN names; Rejected, without repeating the DSN, when it names none.

    >>> parse_dsn("chdb://.keyfuse/store")
    Embedded(path='.keyfuse/store', database='keyfuse')
    >>> parse_dsn("clickhouses://writer@ch.example.com/usage")
    Server(host='ch.example.com', port=8443, user='writer', database='usage', tls=True)
    """
    if dsn.startswith("chdb://"):
        path, _, query = dsn.removeprefix("chdb://").partition("?")
        if not path:
            raise Rejected("store.dsn: chdb:// needs a path, as in chdb://.keyfuse/store")
        return Embedded(path, parse_qs(query).get("database", [DEFAULT_DATABASE])[0])
    if dsn.startswith(("clickhouse://", "clickhouses://")):
        return _server(dsn)
    raise Rejected("store.dsn: expected chdb://PATH, clickhouse://user@host:port/database or clickhouses://...")


def _server(dsn: str) -> Server:
    try:
        parts = urlsplit(dsn)
        host, port, password = parts.hostname, parts.port, parts.password
    except ValueError:
        raise Rejected("store.dsn: the host or port cannot be read") from None
    if password is not None:
        raise Rejected("store.dsn holds a password: name its environment variable in store.password_env instead")
    if not host:
        raise Rejected("store.dsn: the host is missing")
    if port in _NATIVE_PORTS:
        raise Rejected(f"store.dsn: {port} is the native protocol; give the HTTP port (8123, with TLS 8443)")
    tls = parts.scheme == "clickhouses"
    return Server(
        host=host,
        port=port or (8443 if tls else 8123),
        user=unquote(parts.username or "default"),
        database=unquote(parts.path.strip("/")) or DEFAULT_DATABASE,
        tls=tls,
    )
