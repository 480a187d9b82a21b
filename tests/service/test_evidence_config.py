"""Which configuration was in force, from when to when, for which roles."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas.evidence import ConfigInForce
from service.config_kept import texts_of
from service.evidence_config import Configs, Period, as_json, configs_of, periods
from storage.client import open_store
from storage.migrate import migrate
from storage.rows import StoredRecord, record_row
from storage.store import Store
from storage.testing import fresh_dsn
from tests.service.evidence import AFTER, BEFORE, KEY, in_force
from tests.storage.frames import T0


def word(at_ms: int, version: str, *roles: str, worker: str = "w") -> ConfigInForce:
    return ConfigInForce(at_ms=at_ms, worker=worker, roles=roles, cause="start", version=version, files={})


def found(
    words: list[ConfigInForce], from_ms: int = 100, until_ms: int = 200
) -> list[tuple[int, int | None, str, str]]:
    return [(p.from_ms, p.until_ms, p.version, ",".join(p.roles)) for p in periods(words, from_ms, until_ms)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], []),
        ([word(50, "a", "score")], [(50, None, "a", "score")]),
        ([word(50, "a", "score"), word(150, "b", "score")], [(50, 150, "a", "score"), (150, None, "b", "score")]),
        ([word(50, "a", "score"), word(90, "b", "score")], [(90, None, "b", "score")]),  # over before it began
        ([word(50, "a", "score"), word(250, "b", "score")], [(50, 250, "a", "score")]),  # what came after is not asked
        ([word(50, "a", "score"), word(150, "a", "score", worker="x")], [(50, None, "a", "score")]),  # a restart
        ([word(150, "a", "score")], [(150, None, "a", "score")]),
        ([word(250, "a", "score"), word(300, "b", "score")], [(250, 300, "a", "score")]),  # late events: by the next
        (
            [word(50, "a", "score", "decide"), word(150, "b", "decide")],
            [(50, None, "a", "score"), (50, 150, "a", "decide"), (150, None, "b", "decide")],
        ),
        ([word(50, "a", "score"), word(50, "a", "decide", worker="x")], [(50, None, "a", "decide,score")]),
    ],
)
def test_periods(words: list[ConfigInForce], expected: list[tuple[int, int | None, str, str]]) -> None:
    assert sorted(found(words), key=str) == sorted(expected, key=str)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    opened = open_store(fresh_dsn())
    migrate(opened, retention_days=36_500)
    told = [in_force(BEFORE, T0, "score", "decide"), in_force(AFTER, T0 + 60_000, "decide")]
    records: list[StoredRecord] = [*texts_of(BEFORE), *texts_of(AFTER), *told]
    for record in records:
        table, row = record_row(record)
        opened.insert_records(table, [row])
        opened.insert_records(table, [row])  # delivered again
    yield opened
    opened.close()


def asked(store: Store, from_ms: int, until_ms: int) -> Configs:
    return configs_of(store, KEY, from_ms, until_ms, now_ms=T0 + 3_600_000)


def test_both_versions_with_their_times_and_no_other_key(store: Store) -> None:
    configs = asked(store, T0 + 1000, T0 + 90_000)
    before, after = in_force(BEFORE, T0).version, in_force(AFTER, T0).version
    assert [(each.version, each.roles, each.until_ms) for each in configs.periods] == [
        (before, ("decide",), T0 + 60_000), (before, ("score",), None), (after, ("decide",), None),
    ]  # fmt: skip
    modes = [configs.versions[version]["responses.yaml"]["mode"] for version in (before, after)]
    assert modes == ["observe", "approve"]
    assert [key["key_id"] for key in configs.versions[after]["keys.yaml"]["keys"]] == [KEY]
    assert configs.unknown == ()
    assert as_json(configs)["periods"][0]["from"] == "2026-11-23T10:00:00.000Z"


def test_a_key_that_is_not_registered_has_no_entry(store: Store) -> None:
    configs = configs_of(store, "fp1:stranger", T0, T0 + 1, now_ms=T0 + 3_600_000)
    assert [files["keys.yaml"]["keys"] for files in configs.versions.values()] == [[]]


def test_what_nobody_wrote_down_is_said(store: Store) -> None:
    early = asked(store, T0 - 5000, T0 + 1000)
    assert early.unknown == ("What the roles decide, score followed before 2026-11-23T10:00:00.000Z is not known.",)
    empty = configs_of(store, KEY, 0, 1, now_ms=T0)
    assert empty.unknown == ("Which configuration was in force then is not known: no worker had written it down.",)


def test_a_text_that_is_lost_is_said(store: Store) -> None:
    lost = ConfigInForce(
        at_ms=T0 + 120_000,
        worker="z",
        roles=("ingest",),
        cause="start",
        version="cfg_lost",
        files={"keyfuse.yaml": "?"},
    )
    store.insert_records("config_in_force", [record_row(lost)[1]])
    configs = asked(store, T0 + 130_000, T0 + 140_000)
    assert configs.versions["cfg_lost"] == {"keyfuse.yaml": None}
    assert "keyfuse.yaml of cfg_lost was too large to be kept, or its text is not in the store." in configs.unknown
    assert Period(from_ms=T0 + 120_000, until_ms=None, roles=("ingest",), version="cfg_lost") in configs.periods
