"""`hold`, `unhold` and `holds` as a person uses them, with a worker and its broker; and what is said of a mistake."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from schemas.evidence import Hold
from service import hold_commands
from service.errors import UserError
from service.history import open_history
from service.hold_answers import Standing, holds_answer
from service.install import Install, Running
from storage.client import open_store
from storage.holds import OPEN_MS, keep
from storage.migrate import migrate
from storage.rows import record_row
from storage.store import Store
from storage.testing import fresh_dsn
from tests.brokers import Broker
from tests.integration.uses import T0_MS, uses
from tests.integration.world import ENVIRON, World, running, until
from tests.storage.frames import HOUR_MS, archive_uses
from tests.storage.test_holds import HOLD, OLD, RELEASED, USES, expire, of, said
from tests.storage.test_store import put


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store(fresh_dsn())
    migrate(opened, retention_days=36_500)
    archive_uses(opened, USES)
    put(opened, of("resolved"))
    yield opened
    opened.close()


def standing(store: Store) -> Standing:
    [found] = holds_answer(store)
    return found


def test_how_a_hold_stands(store: Store) -> None:
    assert holds_answer(store) == []
    store.insert_records("holds", [record_row(HOLD)[1]])
    asked = standing(store)
    assert (asked.kept, asked.events) == (False, 0)  # the archive has not acted on it yet
    said(store, HOLD)
    found = standing(store)
    assert (found.kept, found.events, found.missing, found.since_ms, found.checks) == (True, 2, 0, HOLD.at_ms, 1)
    assert found.until_ms == OLD + 10 * 60_000 + HOUR_MS
    said(store, RELEASED)
    gone = standing(store)
    assert (gone.hold, gone.kept, gone.since_ms, gone.said) == (RELEASED, True, HOLD.at_ms, (HOLD, RELEASED))


def test_after_a_release_the_time_without_a_gap_begins_anew(store: Store) -> None:
    again = HOLD.model_copy(update={"at_ms": RELEASED.at_ms + 5})
    said(store, HOLD, RELEASED, again, now_ms=again.at_ms)
    found = standing(store)
    assert (found.since_ms, found.kept) == (again.at_ms, True)


def test_missing_events_are_told(store: Store) -> None:
    said(store, HOLD)
    expire(store)
    store.connection.command("ALTER TABLE usage_held DELETE WHERE event_id = 'a1'", settings={"mutations_sync": 1})
    assert (standing(store).events, standing(store).missing) == (1, 1)
    keep(store, now_ms=T0_MS)
    assert standing(store).missing == 1


def config_in(directory: Path, dsn: str, *lines: str) -> Path:
    folder = directory / "keyfuse.d"
    folder.mkdir(exist_ok=True)
    text = "\n".join([f"data_dir: {directory}", f"store: {{dsn: '{dsn}'}}", *lines])
    (folder / "keyfuse.yaml").write_text(f"{text}\n")
    return folder


def test_what_is_held_of_a_key_can_still_be_explained(tmp_path: Path) -> None:
    dsn = fresh_dsn()
    store = open_store(dsn)
    migrate(store, retention_days=36_500)
    archive_uses(store, USES)
    put(store, of("resolved"))
    said(store, HOLD)
    expire(store)
    store.close()
    install = Install.open(config_in(tmp_path, dsn))
    with open_history(install, (), from_ms=None, until_ms=OPEN_MS, key_id="fp1:a") as history:
        assert sum(frame.num_rows for frame in history.frames()) == 2
    with (
        pytest.raises(UserError, match="no events in that time"),
        open_history(install, (), from_ms=None, until_ms=OPEN_MS, key_id="fp1:b"),
    ):
        pass


@pytest.fixture
def told() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def out(told: io.StringIO) -> Console:
    return Console(file=told, width=300, highlight=False)


@pytest.fixture(scope="module")
def dsn() -> str:
    """A store with one incident and two holds of it."""
    dsn = fresh_dsn()
    opened = open_store(dsn)
    migrate(opened, retention_days=36_500)
    put(opened, of("open"))
    other = Hold(**{**HOLD.model_dump(), "hold_id": "hld_2", "by": "cy"})
    gone = [Hold(**{**HOLD.model_dump(), "hold_id": "hld_3", "at_ms": at, "released": at > 1}) for at in (1, 2)]
    said(opened, HOLD, other, *gone)
    opened.close()
    return dsn


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dsn: str) -> Path:
    """That store, and no broker."""
    monkeypatch.chdir(tmp_path)
    return config_in(tmp_path, dsn)


def test_a_list_shows_who_why_since_when_and_what(config: Path, out: Console, told: io.StringIO) -> None:
    hold_commands.holds(config, everything=False, out=out)
    assert told.getvalue().count("HELD since 2026-11-23 10:00 without a gap, by ") == 2
    for words in (
        "by ann: matter 12",
        "an hour after the incident's end",
        "says on 1 day that",
        "1 released: `keyfuse",
    ):
        assert words in told.getvalue()
    hold_commands.holds(config, everything=True, out=out)
    assert "RELEASED on 1970-01-01 00:00 by ann: matter 12" in told.getvalue()


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("inc_1", f"inc_1 is held 2 times, so name the hold: hld_2 (cy: matter 12), {HOLD.hold_id} (ann: matter 12)"),
        ("hld_9", "no hold hld_9; `keyfuse holds` shows them"),
        ("hld_3", "hld_3 was released by ann on 1970-01-01 00:00 already"),
        ("hld_2", "nothing runs in"),
    ],
)
def test_a_release_that_cannot_be_is_one_sentence(config: Path, out: Console, target: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        hold_commands.unhold(config, target, reason="settled", by="bo", wait_s=0, out=out)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("incident", "reason", "by", "sentence"),
    [
        ("inc_9", "matter 12", "ann", "no incident inc_9; `keyfuse incidents` shows their ids"),
        ("inc_1", " ", "ann", "--reason: say why"),
        ("inc_1", "matter 12", "keyfuse", "say who you are"),
        ("inc_1", "matter 12", "ann", "nothing runs in"),
    ],
)
def test_a_hold_that_cannot_be_is_one_sentence(
    config: Path, out: Console, incident: str, reason: str, by: str, sentence: str
) -> None:
    with pytest.raises(UserError) as refused:
        hold_commands.hold(config, incident, reason=reason, hours=24, by=by, wait_s=0, out=out)
    assert sentence in str(refused.value)


def test_a_responder_may_hold_and_only_an_approver_may_release(config: Path, out: Console) -> None:
    (config / "people.yaml").write_text("people: {rosa: {role: responder}, ada: {role: approver}}\n")
    for by, sentence in (("rosa", "rosa is responder; unhold needs approver"), ("ada", "nothing runs in")):
        with pytest.raises(UserError, match=sentence):
            hold_commands.unhold(config, "hld_2", reason="settled", by=by, wait_s=0, out=out)
    with pytest.raises(UserError, match="nothing runs in"):
        hold_commands.hold(config, "inc_1", reason="matter 12", hours=24, by="rosa", wait_s=0, out=out)


async def stolen(world: World, key_id: str) -> str:
    """The id of an incident that its use opens."""
    await world.produce(*uses(key_id, T0_MS, count=40, every_ms=100, cost_usd=0.5))
    await world.produce(*uses(key_id, T0_MS + 60_000, count=1))
    await until(lambda: world.incident(key_id), "an incident")
    incident = world.incident(key_id)
    assert incident is not None
    await until_stored(world, key_id, 41)
    return incident.incident_id


async def until_stored(world: World, key_id: str, events: int) -> None:
    for _ in range(600):
        rows = await world.rows("SELECT count() FROM incidents WHERE key_id = {key:String}", key=key_id)
        if await world.archived(key_id) == events and rows[0][0]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it was not archived")


async def test_a_person_holds_and_releases_through_a_running_worker(
    tansu_broker: Broker, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: Console, told: io.StringIO
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYFUSE_INTAKE_TOKEN", ENVIRON["KEYFUSE_INTAKE_TOKEN"])
    async with running(tansu_broker, prefix, tmp_path, keys=["key_held"]) as world:
        kafka = world.worker.install.folder.wiring.kafka
        words = f"kafka: {{bootstrap: '{kafka.bootstrap}', partitions: {kafka.partitions}, topic_prefix: '{prefix}'}}"
        folder = config_in(tmp_path, "chdb://none", words)
        Running(tansu_broker.bootstrap, world.worker.url, os.getpid()).write(tmp_path)
        incident_id = await stolen(world, "key_held")

        await asyncio.to_thread(
            lambda: hold_commands.hold(
                folder, incident_id, reason="matter 12", hours=1, by="ann", wait_s=30, out=out
            )
        )  # fmt: skip
        assert "held: 41 events of key_held" in told.getvalue()
        [found] = [Standing.model_validate(row) for row in (await world.stored("/v1/holds")).json()]
        assert (found.hold.by, found.events, found.until_ms) == ("ann", 41, None)
        as_a_producer = await world.http.get("/v1/holds")
        assert as_a_producer.status_code == 401

        await world.produce(*uses("key_held", T0_MS + 61_000, count=5))
        await until_stored(world, "key_held", 46)
        [later] = [Standing.model_validate(row) for row in (await world.stored("/v1/holds")).json()]
        assert later.events == 46

        await asyncio.to_thread(
            lambda: hold_commands.unhold(folder, incident_id, reason="settled", by="bo", wait_s=30, out=out)
        )
        assert f"released: {found.hold.hold_id} of {incident_id}" in told.getvalue()

        async def audited() -> bool:
            """Rows of the audit go over a topic of their own."""
            acts = await world.rows("SELECT action, actor FROM audit WHERE action LIKE 'hold.%' ORDER BY seq")
            return [act for act in acts if act[0] != "hold.kept"] == [("hold.place", "ann"), ("hold.release", "bo")]

        await until(audited, "the hold and its release in the audit")
        texts = await world.rows("SELECT count() FROM config_texts FINAL")
        states = await world.rows("SELECT count() FROM key_states WHERE key_id = 'key_held'")
        assert (texts[0][0] > 5, states[0][0]) == (True, 1)
