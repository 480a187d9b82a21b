from __future__ import annotations

import pytest

from storage.dsn import Embedded, Server, parse_dsn
from storage.errors import Rejected


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("chdb://.keyfuse/store", Embedded(".keyfuse/store", "keyfuse")),
        ("chdb:///var/lib/keyfuse?database=blue", Embedded("/var/lib/keyfuse", "blue")),
        ("clickhouse://writer@ch:8123/usage", Server("ch", 8123, "writer", "usage", tls=False)),
        ("clickhouse://ch", Server("ch", 8123, "default", "keyfuse", tls=False)),
        ("clickhouses://a%40b@ch.example.com/", Server("ch.example.com", 8443, "a@b", "keyfuse", tls=True)),
    ],
)
def test_a_dsn_names_a_place(dsn: str, expected: Embedded | Server) -> None:
    assert parse_dsn(dsn) == expected


@pytest.mark.parametrize(
    ("dsn", "complaint"),
    [
        ("chdb://", "needs a path"),
        ("postgres://u:hunter2@h/db", "expected chdb://PATH"),
        ("clickhouse://u:hunter2@h/db", "store.password_env"),
        ("clickhouse:///db", "host is missing"),
        ("clickhouse://u:hunter2@h:port/db", "cannot be read"),
        ("clickhouse://h:9000/db", "native protocol"),
        ("clickhouses://h:9440/db", "native protocol"),
    ],
)
def test_a_wrong_dsn_is_refused_without_repeating_it(dsn: str, complaint: str) -> None:
    with pytest.raises(Rejected, match=complaint) as refused:
        parse_dsn(dsn)
    assert "hunter2" not in repr(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
