"""Opens the store: the embedded engine or a server, the same code from here on."""

from __future__ import annotations

import logging
import re
from typing import Final

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from pydantic import SecretStr

from storage.connection import ClickHouseConnection, translated
from storage.dsn import Embedded, Server, parse_dsn
from storage.errors import Rejected, StoreError
from storage.store import Store

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def open_store(dsn: str, *, password: SecretStr | None = None) -> Store:
    """Connect, and create the database when it is missing. The tables come from `migrate`.

    Raises Unreachable when nobody answers, Rejected for a wrong DSN, password or an embedded path in use.
    """
    target = parse_dsn(dsn)
    if not _NAME.fullmatch(target.database):
        raise Rejected("store.dsn: a database name is letters, digits and underscores")
    # The driver logs a traceback of each failed request besides raising; ours is one sentence, raised once.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    with translated(password):
        client = _embedded(target) if isinstance(target, Embedded) else _served(target, password)
    connection = ClickHouseConnection(client, password=password)
    try:
        known = connection.rows(
            "SELECT name FROM system.databases WHERE name = {name:String}", {"name": target.database}
        )
        if not known:
            connection.command(f"CREATE DATABASE IF NOT EXISTS {target.database}")
    except StoreError:
        connection.close()
        raise
    client.database = target.database
    return Store(connection)


def _embedded(target: Embedded) -> Client:
    return clickhouse_connect.get_client(interface="chdb", path=target.path, show_clickhouse_errors="scrub")


def _served(target: Server, password: SecretStr | None) -> Client:
    return clickhouse_connect.get_client(
        interface="https" if target.tls else "http",
        host=target.host,
        port=target.port,
        username=target.user,
        password=password.get_secret_value() if password else "",
        connect_timeout=5,
        send_receive_timeout=60,
        autogenerate_session_id=False,
        form_encode_query_params=True,
        show_clickhouse_errors="scrub",
    )
