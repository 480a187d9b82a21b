"""Bad input among good: each bad piece ends as a dead letter with its reason, or as a 4xx; every good event counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from schemas.records import DeadLetter, DeadReason
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.faust_engine import read_all
from tests.integration.uses import T0_MS, ndjson, use, uses
from tests.integration.world import World, running, until

KEY: Final = "key_of_good_use"
ROLES: Final = ("ingest", "archive", "score", "http")
MIB: Final = 1024 * 1024
R: Final = DeadReason


class Bad(NamedTuple):
    name: str
    value: bytes
    reason: DeadReason
    field: str = ""


def event(**changes: Any) -> dict[str, Any]:
    return use("bad", "key_of_bad_use", T0_MS) | changes


def written(name: str, literal: str) -> bytes:
    """An event with a literal that no encoder would write."""
    return orjson.dumps(event(**{name: "@"})).replace(b'"@"', literal.encode())


def field(name: str, value: Any, reason: DeadReason = R.INVALID_FIELD) -> Bad:
    return Bad(f"{name}={value!r:.40}", orjson.dumps(event(**{name: value})), reason, name)


WHOLE: Final = orjson.dumps(event())
BAD: Final = (
    Bad("cut off", WHOLE[:-7], R.NOT_JSON),
    Bad("nothing", b" ", R.NOT_JSON),
    Bad("a sentence", b"hello there", R.NOT_JSON),
    Bad("not a number", written("cost_usd", "NaN"), R.NOT_JSON),
    Bad("infinity", written("cost_usd", "-Infinity"), R.NOT_JSON),
    Bad("1e999", written("cost_usd", "1e999"), R.NOT_JSON),
    Bad("deep nesting", b"[" * 100_000 + b"]" * 100_000, R.NOT_JSON),
    Bad("deep nesting in a field", written("note", '{"a":' * 5000 + "1" + "}" * 5000), R.NOT_JSON),
    Bad("bytes that are no text", WHOLE.replace(b"DE", b"\xff\xfe"), R.NOT_UTF8),
    Bad("half a surrogate", written("country", '"\\ud800"'), R.NOT_JSON),
    Bad("1e308 USD", written("cost_usd", "1e308"), R.INVALID_FIELD, "cost_usd"),
    Bad("more than 64 bits", written("input_tokens", "18446744073709551616"), R.INVALID_FIELD, "input_tokens"),
    Bad("the largest 64 bits", written("output_tokens", "9223372036854775807"), R.INVALID_FIELD, "output_tokens"),
    Bad("hundreds of digits", written("input_tokens", "9" * 400), R.NOT_JSON),
    Bad("a literal NUL", WHOLE.replace(b"DE", b"\x00"), R.NOT_JSON),
    field("user_agent", "a\x00b"),
    field("model", "\x00"),
    field("model", ""),
    field("model", "m" * 257),
    field("model", ["gpt-4.1"]),
    field("input_tokens", -1),
    field("input_tokens", "12"),
    field("input_tokens", 1.5),
    field("output_tokens", True),
    field("cost_usd", -0.01),
    field("cost_usd", "free"),
    field("requests", 0),
    field("status", "200"),
    field("ip", "300.1.2.3"),
    field("ts", "yesterday"),
    field("ts", {"s": 1}),
    field("ts", 0, R.TIME_OUT_OF_RANGE),
    field("ts", "1970-01-01T00:00:00Z", R.TIME_OUT_OF_RANGE),
    field("ts", "2999-01-01T00:00:00Z", R.TIME_OUT_OF_RANGE),
    field("ts", "2099-01-01T00:00:00Z", R.TIME_OUT_OF_RANGE),
    Bad("two names of a key", orjson.dumps(event(key="secret")), R.INVALID_FIELD, "key_id"),
    Bad("a shape nobody knows", b'{"hello": "world"}', R.UNKNOWN_FORMAT),
    Bad("a bare number", b"17", R.UNKNOWN_FORMAT),
    Bad("null", b"null", R.UNKNOWN_FORMAT),
    Bad("a list in a list", b"[[]]", R.UNKNOWN_FORMAT),
    Bad("too many events", b"[" + b"1," * 100_000 + b"1]", R.TOO_MANY_EVENTS),
    Bad("more than 5 MiB", orjson.dumps(event(note="x" * (5 * MIB + 1))), R.TOO_LARGE),
)
HTTP_413: Final = frozenset({R.TOO_LARGE, R.TOO_MANY_EVENTS})


async def dead_letters(world: World) -> list[DeadLetter]:
    topic = world.worker.install.topics.name(Topic.DEAD)
    return [DeadLetter.from_bytes(value or b"") for _, value in await read_all(world.worker.bootstrap, topic, 0)]


async def until_counted(world: World, count: int) -> None:
    """The good events and only they are archived and scored."""

    async def there() -> bool:
        return await world.archived() == count and world.worker.score.scored == count

    await until(there, lambda: f"{count} events; scored {world.worker.score.scored}")


async def test_each_bad_record_of_kafka_is_a_dead_letter_and_every_good_one_counts(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    good = uses(KEY, T0_MS, count=2 * len(BAD))
    async with running(broker, prefix, tmp_path, roles=ROLES) as world:
        for place, bad in enumerate(BAD):
            await world.produce(good[2 * place], bad.value, good[2 * place + 1], key=KEY)
        await until_counted(world, len(good))
        await until(lambda: _enough(world), "all dead letters")
        found = Counter((dead.reason, dead.field, dead.bytes) for dead in await dead_letters(world))
        assert world.worker.health.report(0.0)[0]
        # Inside an array the others count too, and the dead letter names the place.
        mixed = [
            orjson.loads(value)
            for value in (
                orjson.dumps(use("first", KEY, T0_MS)),
                orjson.dumps(event(status=-1)),
                orjson.dumps(use("last", KEY, T0_MS)),
            )
        ]
        await world.produce(orjson.dumps(mixed), ndjson(mixed[:1]).replace(b"first", b"line") + b"\n{oops\n")
        await until_counted(world, len(good) + 3)
        places = sorted((dead.reason.value, dead.index) for dead in (await dead_letters(world))[len(BAD) :])
        text = " ".join(dead.detail for dead in await dead_letters(world))
    assert found == Counter((bad.reason, bad.field, len(bad.value)) for bad in BAD)
    assert places == [("invalid_field", 1), ("not_json", 1)]
    assert "yesterday" not in text


async def _enough(world: World) -> bool:
    return len(await dead_letters(world)) >= len(BAD)


async def test_a_record_beyond_what_the_topic_takes_is_refused_to_its_producer(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with running(broker, prefix, tmp_path, roles=ROLES) as world:
        refused = ""
        try:
            await world.produce(orjson.dumps(event(note="x" * 10 * MIB)))
        except Exception as error:
            refused = type(error).__name__
        await world.produce(*uses(KEY, T0_MS, count=5))
        await until_counted(world, 5)
    assert refused == "MessageSizeTooLargeError"


async def test_each_bad_body_over_http_is_a_4xx_and_every_good_event_counts(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    good = uses(KEY, T0_MS, count=len(BAD))
    async with running(broker, prefix, tmp_path, roles=ROLES) as world:
        limit = world.worker.install.folder.wiring.intake.max_body_bytes
        for place, bad in enumerate(BAD):
            answer = await world.post(bad.value)
            expected = 413 if bad.reason in HTTP_413 or len(bad.value) > limit else 400
            assert (answer.status_code, answer.json()["accepted"]) == (expected, 0), (bad.name, answer.text[:300])
            if len(bad.value) <= limit:
                [error] = answer.json()["errors"][:1]
                assert (error["reason"], error["field"]) == (bad.reason.value, bad.field), bad.name
            assert (await world.post(ndjson([good[place]]))).status_code == 202
        assert (await world.post(orjson.dumps(event(note="x" * 10 * MIB)))).status_code == 413
        await until_counted(world, len(good))
        assert await dead_letters(world) == []


async def test_the_ingest_stops_when_most_is_bad_and_says_why(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with running(broker, prefix, tmp_path, roles=ROLES) as world:
        await world.produce(
            *(b"oops" if place % 10 < 4 else use(f"e{place}", KEY, T0_MS + place) for place in range(3000))
        )
        await until_counted(world, 1800)
        assert (await world.http.get("/healthz")).status_code == 200
        await world.produce(*[b"oops"] * 5000)

        async def stopped() -> bool:
            return (await world.http.get("/healthz")).status_code == 503

        await until(stopped, "the worker unhealthy")
        [problem] = (await world.http.get("/healthz")).json()["problems"]
        assert problem.startswith("ingest: stopped: ")
        assert "records are bad: the ingest stops; see usage.dead" in problem
        assert (await world.http.get("/readyz")).status_code == 503
