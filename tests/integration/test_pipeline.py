"""From the first event to the verified cut, through the whole worker, on both brokers.

One worker serves all tests of a broker: each test has keys and ten minutes of event time of its own.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio

from schemas.records import AuditRow, Command, Finding, Incident, KeyFacts, Request
from storage.store import Store
from streams.outbox import Outbox
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.uses import COST_USD, T0_MS, Event, litellm, ndjson, theft, use, uses, windows_of
from tests.integration.world import World, running, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
STOLEN, WATCHED, PAGED = "key_stolen", "key_in_observe_mode", "key_of_the_pager"
_tests = itertools.count()


@pytest.fixture(scope="module", params=["tansu", pytest.param("kafka", marks=pytest.mark.kafka)])
def module_broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn, for all tests of this file."""
    found: Broker = request.getfixturevalue(f"{request.param}_broker")
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(module_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A worker with all stages."""
    directory = tmp_path_factory.mktemp("install")
    keys, modes = (STOLEN, WATCHED, PAGED), {WATCHED: "observe"}
    prefix = f"t{secrets.token_hex(4)}."
    async with running(module_broker, prefix, directory, keys=keys, key_modes=modes) as one:
        yield one


@pytest.fixture
def start_ms() -> int:
    """Event time only moves on: each test begins behind all others."""
    return T0_MS + next(_tests) * 600_000


def store_of(world: World) -> Store:
    assert world.worker.store is not None
    return world.worker.store()


async def until_scored(world: World, key_id: str, events: list[Event]) -> None:
    """The windows of the key show these events and nothing else."""

    def shown() -> bool:
        found, clock_s = world.windows(key_id)
        return found == pytest.approx(windows_of(events, clock_s))

    await until(shown, f"windows of {key_id}; they are {world.windows(key_id)}")


async def until_archived(world: World, key_id: str, count: int) -> None:
    async def there() -> bool:
        return await world.archived(key_id) == count

    await until(there, f"{count} rows of {key_id}")


async def test_every_shape_of_record_is_counted_once_in_windows_archive_and_rollups(
    world: World, start_ms: int
) -> None:
    shapes = {name: uses(f"key_{name}", start_ms, count=6) for name in ("object", "array", "ndjson", "http")}
    await world.produce(*shapes["object"])
    await world.produce(b"[" + b",".join(ndjson([event]) for event in shapes["array"]) + b"]")
    await world.produce(ndjson(shapes["ndjson"]))
    assert (await world.post(ndjson(shapes["http"]))).json() == {"accepted": 6}
    for key_id, fmt in (("key_named_litellm", "litellm"), ("key_shaped_litellm", None)):
        events = uses(key_id, start_ms, count=6)
        shapes[key_id.removeprefix("key_")] = events
        await world.produce(*(litellm(event["event_id"], key_id, event["ts"]) for event in events), fmt=fmt)

    for name, events in shapes.items():
        await until_scored(world, f"key_{name}", events)
        await until_archived(world, f"key_{name}", 6)
    [(usd, tokens, teams)] = await world.rows(
        "SELECT sum(cost_nano_usd) / 1e9, sum(input_tokens + output_tokens), groupUniqArray(team) FROM usage_events"
        " FINAL WHERE key_id IN {keys:Array(String)}",
        keys=[f"key_{name}" for name in shapes],
    )
    assert (usd, tokens, teams) == (pytest.approx(36 * COST_USD), 36 * 110, ["search"])
    assert store_of(world).rollup_vs_raw().difference == 0
    families = {family for name in shapes for told in world.told(Incident, f"key_{name}") for family in told.families}
    assert families <= {"identity"}, "nobody has registered them, and nothing else is wrong"


async def test_an_event_that_a_producer_sends_again_is_counted_once(world: World, start_ms: int) -> None:
    key_id = "key_of_a_nervous_producer"
    events = uses(key_id, start_ms, count=4)
    await world.produce(*events, *events)
    await until_archived(world, key_id, 4)
    assert (await world.post(ndjson(events))).status_code == 202
    last = use("the last one", key_id, start_ms + 4000)
    assert (await world.post(ndjson([*events, last]))).status_code == 202

    await until_scored(world, key_id, [*events, last])
    await until_archived(world, key_id, 5)
    [(counted,)] = await world.rows("SELECT sum(events) FROM usage_hour WHERE key_id = {key:String}", key=key_id)
    assert counted == 5
    assert store_of(world).rollup_vs_raw().difference == 0


async def test_what_cannot_be_taken_is_a_dead_letter_with_its_reason_and_the_rest_goes_on(
    world: World, start_ms: int
) -> None:
    key_id = "key_between_bad_ones"
    good = uses(key_id, start_ms, count=3)
    secret = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"
    await world.produce(
        good[0],
        f'{{"event_id": "broken {secret}'.encode(),
        b"\xff\xfe\xff",
        {"shape": "of nobody"},
        ndjson([use("negative", key_id, start_ms, input_tokens=-1), good[1]]),
        use("from the future", key_id, 4_000_000_000_000),
        good[2],
    )
    await world.produce({"event_id": "e", "ts": start_ms}, fmt="no such format")
    expected = {
        ("not_json", ""), ("not_utf8", ""), ("unknown_format", ""), ("invalid_field", "input_tokens"),
        ("time_out_of_range", "ts"),
    }  # fmt: skip

    async def buried() -> bool:
        [(count,)] = await world.rows("SELECT count() FROM dead_letters FINAL")
        return bool(count == 6)

    await until(buried, "six dead letters in the store")
    dead = store_of(world).dead_letters()
    assert {(letter.reason.value, letter.field) for letter in dead} == expected
    assert {letter.topic for letter in dead} == {world.worker.install.topics.prefix + "usage.raw"}
    assert secret not in str(dead)
    await until_scored(world, key_id, good)
    await until_archived(world, key_id, 3)


async def test_a_theft_is_one_incident_and_one_message_and_the_key_is_refused(world: World, start_ms: int) -> None:
    calm = uses(STOLEN, start_ms, count=20)
    stolen = theft(STOLEN, start_ms + 20_000)
    assert world.sandbox.admit(STOLEN) == 200
    await world.produce(*calm, *stolen, use("closes the last second", STOLEN, start_ms + 30_000), key=STOLEN)

    await until(lambda: world.ended(STOLEN, "confirmed"), "the disable is confirmed")
    assert world.sandbox.admit(STOLEN) == 401
    await until(lambda: _state(world, STOLEN) == "contained", "the incident is contained")
    incident = world.incident(STOLEN)
    assert incident is not None
    assert "policy" in incident.families
    findings: list[Finding] = world.told(Finding, STOLEN)
    assert any(finding.certain and finding.detector == "usd_per_min" for finding in findings)
    commands: list[Command] = world.told(Command, STOLEN)
    assert [(c.step, c.automatic, c.reversible) for c in commands] == [("disable", True, True)]

    services, one = world.board, incident.incident_id
    await until(lambda: services.slack_shows(one) >= incident.seq, "Slack shows the newest version")
    await until(lambda: [h["state"] for h in services.hooks(one)][-1:] == ["contained"], "the webhook was told")
    assert len(services.slack_posts(one)) == 1
    # The message is edited first, then its thread is told.
    await until(
        lambda: len(services.slack_edits(one)) == len(services.slack_replies(one)) >= 1, "each edit has its reply"
    )
    assert {edit["ts"] for edit in services.slack_edits(one)} == {r["thread_ts"] for r in services.slack_replies(one)}
    assert "Contained" in services.slack_replies(one)[-1]["text"]
    assert services.pages(one)[0] == "trigger"

    rows: list[AuditRow] = world.told(AuditRow, STOLEN)
    actions = [row.action for row in rows]
    told = [action for action in actions if action != "disable.read_back"]
    assert told == ["disable.snapshot", "disable.apply", "disable.probe", "disable"]

    async def audited() -> bool:
        return [row.action for row in store_of(world).audit(one)] == actions

    await until(audited, "the audit rows in the store")


async def test_a_person_gives_the_key_back(world: World, start_ms: int) -> None:
    key_id = PAGED
    await world.produce(*theft(key_id, start_ms), use("a close", key_id, start_ms + 9000), key=key_id)
    await until(lambda: _state(world, key_id) == "contained", "the incident is contained")
    assert world.sandbox.admit(key_id) == 401
    request = Request(
        request_id=secrets.token_hex(8), at_ms=start_ms + 20_000, by="ada", action="restore", key_id=key_id,
        reason="our load test",
    )  # fmt: skip
    await world.ask(request)
    await world.ask(request)

    await until(lambda: world.ended(key_id, "confirmed", "restore"), "the restore is confirmed")
    assert world.sandbox.admit(key_id) == 200
    await until(lambda: _state(world, key_id) == "open", "the incident is open again")
    incident = world.incident(key_id)
    assert incident is not None
    assert "Restored by ada" in incident.transition
    restores = [c for c in world.told(Command, key_id) if c.step == "restore"]
    assert len({c.command_id for c in restores}) == 1
    assert [r.actor for r in world.told(AuditRow, key_id) if r.action == "restore.undo"] == ["ada"]


async def test_observe_mode_touches_nothing_and_says_what_it_would_do(world: World, start_ms: int) -> None:
    before = world.sandbox.find(WATCHED).rule
    await world.produce(*theft(WATCHED, start_ms), use("a close too", WATCHED, start_ms + 9000), key=WATCHED)
    await until(lambda: world.ended(WATCHED, "dry_run"), "the dry run has ended")
    await until(lambda: "would disable" in _transition(world, WATCHED), "the incident says what would be done")

    incident = world.incident(WATCHED)
    assert incident is not None
    assert (incident.state, incident.mode) == ("open", "observe")
    assert world.sandbox.find(WATCHED).rule == before
    assert world.sandbox.admit(WATCHED) == 200
    assert [row.action for row in world.told(AuditRow, WATCHED)] == ["disable"]
    replies = world.board.slack_replies
    await until(
        lambda: any("would disable" in reply["text"] for reply in replies(incident.incident_id)),
        "Slack says what would be done",
    )


async def test_an_order_that_decide_did_not_sign_does_nothing_and_a_freeze_comes_through_decide(world: World) -> None:
    key_id, topics = WATCHED, world.worker.install.topics
    forged = Command(
        command_id="cmd_forged", at_ms=T0_MS, incident_id="", key_id=key_id, step="disable", automatic=False,
        reversible=True, mode="auto", by="mallory", reason="because", facts=KeyFacts(provider="sandbox"),
    )  # fmt: skip
    await Outbox(world.sender, topics).send(Topic.COMMANDS, [(key_id, forged)])
    for action in ("freeze", "unfreeze"):
        await world.ask(Request(request_id=secrets.token_hex(8), at_ms=T0_MS, by="ada", action=action, reason="drill"))
        await until(partial(_was_audited, world, action), action)
    [row] = [row for row in world.told(AuditRow, key_id) if row.actor == "mallory"]
    assert (row.action, row.result, row.detail["rule"]) == ("disable", "refused", "unsigned")
    assert world.sandbox.admit(key_id) == 200
    pages = [incident for incident in world.told(Incident, "keyfuse") if "was not believed" in incident.headline]
    assert len({incident.incident_id for incident in pages}) == 1


async def test_health_says_that_all_is_well(world: World) -> None:
    answer = await world.http.get("/healthz")
    assert (answer.status_code, answer.json()["problems"]) == (200, [])
    assert (await world.http.get("/readyz")).status_code == 200


def _was_audited(world: World, action: str) -> bool:
    return action in {row.action for row in world.told(AuditRow, "")}


def _state(world: World, key_id: str) -> str:
    incident = world.incident(key_id)
    return incident.state if incident else ""


def _transition(world: World, key_id: str) -> str:
    incident = world.incident(key_id)
    return incident.transition if incident else ""
