"""The same store behind ClickHouse's HTTP interface: one code path, two ways to the engine."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from storage.archiving import resume, write
from storage.client import open_store
from storage.errors import Rejected, Unreachable
from storage.migrate import migrate
from storage.store import Store
from storage.testing import engine_path, fresh_dsn
from tests.storage.clickhouse_http import ClickHouseHttp
from tests.storage.frames import HOUR_MS, T0, Use, frame
from tests.storage.test_archive_histories import Group, Life, Truth, assert_store_holds, made_up_log
from tests.storage.test_store import audit_row, incident, put


@pytest.fixture
def front() -> Iterator[ClickHouseHttp]:
    with ClickHouseHttp(str(engine_path())) as running:
        yield running


@pytest.fixture
def served(front: ClickHouseHttp) -> Iterator[Store]:
    database = fresh_dsn().partition("=")[2]
    store = open_store(f"clickhouse://keyfuse@127.0.0.1:{front.port}/{database}", password=SecretStr("hunter2"))
    assert migrate(store, retention_days=36_500)
    assert migrate(store, retention_days=36_500) == []
    yield store
    store.close()


def test_a_lost_answer_is_unreachable_and_repeating_the_insert_changes_nothing(
    front: ClickHouseHttp, served: Store
) -> None:
    log = [(n, [Use(f"e{n}", n, ts_ms=T0 + n * 20 * HOUR_MS)]) for n in range(4)]
    archive = resume(served, "usage.frames", 0, offset=0, metadata="", now_ms=T0)
    for offset, uses in log:
        archive.add(offset, frame(uses), now_s=0)
    archive.intent()
    front.lose_answers = 1
    with pytest.raises(Unreachable):
        write(served, archive)
    write(served, archive)
    assert_store_holds(served, Truth.of(log))
    assert served.rollup_vs_raw().difference == 0


def test_inserts_say_explicitly_what_makes_them_repeatable(front: ClickHouseHttp, served: Store) -> None:
    archive = resume(served, "usage.frames", 3, offset=5, metadata="", now_ms=T0)
    archive.add(5, frame([Use("a", 0)]), now_s=0)
    archive.intent()
    write(served, archive)
    settings = front.settings_of_inserts[-1]
    assert settings["insert_deduplication_token"] == f"usage.frames:3:{T0}:5-6"
    assert settings["async_insert"] == "0"
    assert settings["deduplicate_blocks_in_dependent_materialized_views"] == "1"


def test_a_crash_history_over_http(served: Store) -> None:
    rng = random.Random(5)
    log = made_up_log(rng, frames=20)
    Life(served, log, rng, Group()).run({"before the insert": 0.2, "before the commit": 0.2})
    assert_store_holds(served, Truth.of(log))


def test_questions_with_parameters_and_records(served: Store) -> None:
    put(served, incident("inc_1", 1), incident("inc_1", 2, state="resolved"), audit_row("it's \\ 'quoted'", T0))
    assert [version.seq for version in served.incident_history("inc_1")] == [1, 2]
    assert served.incidents("open") == []
    assert served.audit("inc_1") == [audit_row("it's \\ 'quoted'", T0)]


def test_a_statement_that_is_wrong_is_rejected_with_its_code(served: Store) -> None:
    with pytest.raises(Rejected) as raised:
        served.connection.rows("SELECT nothing FROM nowhere")
    assert raised.value.code == 60
