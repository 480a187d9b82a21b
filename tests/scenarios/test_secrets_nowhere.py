"""Secrets of every known kind, sent in every field and in broken records, over Kafka and HTTP, and reported as leaked:
they appear nowhere.

Searched is whatever leaves the ingest: all topics (frames and state decoded), all tables of the store, what Slack,
PagerDuty and the webhook were sent, HTTP answers, logs and metrics. Only the records that the Kafka producer itself
wrote to `usage.raw` may hold them.
"""

from __future__ import annotations

import io
import logging
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson
import pytest
import structlog

from detectors import codec
from schemas.config.wiring import LeaksConfig
from schemas.frame import decode_frame
from service.logs import configure_logging
from sources.raw_records import RawRecord
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.faust_engine import read_all
from tests.integration.uses import T0_MS, Event, litellm, ndjson, use, uses
from tests.integration.world import World, running, until
from tests.schemas.test_redact import KINDS, secret_part
from tests.sources.test_github_keys import Signer

LEAKED: Final = "key_registered_and_leaked"
TEXTS: Final = (
    "user_agent",
    "error",
    "model",
    "user_id",
    "key_id",
    "event_id",
    "endpoint",
    "team",
    "app",
    "env",
    "provider",
)


class Plants:
    """Makes secrets and remembers what to look for."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self.parts: dict[str, str] = {}

    def make(self, kind: str, where: str) -> str:
        secret = KINDS[kind](self._rng)
        self.parts[f"{kind} in {where}"] = secret_part(secret)
        return secret

    def seen_in(self, text: str) -> list[str]:
        return [name for name, part in self.parts.items() if part in text]


@pytest.fixture
def log_stream() -> Iterator[io.StringIO]:
    """Logging as in production, at its most talkative, undone afterwards: it is global by nature."""
    root = logging.getLogger()
    handlers, level, hooks = root.handlers, root.level, (sys.excepthook, threading.excepthook)
    stream = io.StringIO()
    configure_logging(stream=stream, console=False, level="DEBUG")
    yield stream
    root.handlers, (sys.excepthook, threading.excepthook) = handlers, hooks
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def thefts(plants: Plants, kind: str) -> list[Event]:
    """A stolen key that was sent as it is: half a dollar a call breaks the limit, so that everybody is told."""
    secret = plants.make(kind, "key of a theft")
    number, model = list(KINDS).index(kind), plants.make(kind, "model of a theft")
    events = uses(f"theft-{number}", T0_MS, count=8, every_ms=250, cost_usd=0.5, model=model)
    return [{name: value for name, value in event.items() if name != "key_id"} | {"key": secret} for event in events]


def good(plants: Plants, kind: str) -> list[Event]:
    """Valid events with a secret in one text each."""
    number = list(KINDS).index(kind)
    events = [
        use(f"text-{number}-{name}", f"key_text_{number}", T0_MS) | {name: plants.make(kind, name)} for name in TEXTS
    ]
    events.append(use(f"both-{number}", f"key_text_{number}", T0_MS, messages=plants.make(kind, "an unknown field")))
    return events


def payloads(plants: Plants, kind: str) -> list[Event]:
    """LiteLLM's records, which carry prompts, errors and headers."""
    number = list(KINDS).index(kind)
    hidden = litellm(f"litellm-{number}", f"key_litellm_{number}", T0_MS)
    hidden["messages"] = [{"role": "user", "content": plants.make(kind, "a prompt")}]
    hidden["response"] = plants.make(kind, "an answer")
    hidden["api_base"] = f"https://example.com/?key={plants.make(kind, 'api_base')}"
    hidden["user_agent"] = plants.make(kind, "litellm user_agent")
    hidden["end_user"] = plants.make(kind, "end_user")
    hidden["status"] = "failure"
    hidden["error_information"] = {
        "error_class": f"AuthError {plants.make(kind, 'error_class')}", "error_code": "401",
        "error_message": plants.make(kind, "error_message"), "traceback": plants.make(kind, "traceback"),
    }  # fmt: skip
    as_hash = litellm(f"litellm-hash-{number}", plants.make(kind, "user_api_key_hash"), T0_MS)
    as_hash["metadata"]["user_api_key_alias"] = plants.make(kind, "user_api_key_alias")
    return [hidden, as_hash]


def broken(plants: Plants, kind: str) -> list[bytes]:
    """Records that are refused, each for another reason."""
    number = list(KINDS).index(kind)
    event = use(f"broken-{number}", f"key_broken_{number}", T0_MS)
    typed = [
        event | {name: plants.make(kind, f"a wrong {name}")}
        for name in ("input_tokens", "ts", "ip", "cost_usd", "status")
    ]
    return [
        orjson.dumps(event | {"key": plants.make(kind, "a cut off record")})[:-5],
        b"\xff\xfe" + plants.make(kind, "bytes that are no text").encode(),
        orjson.dumps({plants.make(kind, "the name of a field"): 1}),
        orjson.dumps(event | {"key": plants.make(kind, "key beside key_id")}),
        orjson.dumps(event | {"error": plants.make(kind, "a text with NUL") + "\x00"}),
        orjson.dumps(plants.make(kind, "a bare string")),
        *map(orjson.dumps, typed),
    ]


async def test_no_secret_gets_past_the_ingest_of_kafka(
    broker: Broker, prefix: str, tmp_path: Path, log_stream: io.StringIO
) -> None:
    plants = Plants(1)
    valid = [event for kind in KINDS for event in (*thefts(plants, kind), *good(plants, kind), *payloads(plants, kind))]
    bad = [value for kind in KINDS for value in broken(plants, kind)]
    async with running(broker, prefix, tmp_path) as world:
        rows, dead = expected(world, [*map(orjson.dumps, valid), *bad])
        await world.produce(*valid)
        await world.produce(*bad)
        await world.produce(
            orjson.dumps(use("named", "key_named", T0_MS)), fmt=plants.make("openai project", "the format header")
        )
        found = await everything(world, rows=rows, dead=dead + 1, told=len(KINDS), without=Topic.RAW)
    assert len(plants.parts) > 500
    look_through(plants, found | {"logs": log_stream.getvalue()})


async def test_no_secret_gets_past_the_http_intake(
    broker: Broker, prefix: str, tmp_path: Path, log_stream: io.StringIO
) -> None:
    plants = Plants(2)
    valid = [event for kind in KINDS for event in (*thefts(plants, kind), *good(plants, kind), *payloads(plants, kind))]
    bad = [value for kind in KINDS for value in broken(plants, kind)]
    async with running(broker, prefix, tmp_path) as world:
        rows, _ = expected(world, [orjson.dumps(event) for event in valid])
        answers = [await world.post(ndjson(valid[start : start + 40])) for start in range(0, len(valid), 40)]
        assert {answer.status_code for answer in answers} == {202}, [a.text for a in answers if a.status_code != 202][
            :1
        ]
        refused = [await world.post(value) for value in bad]
        assert {answer.status_code for answer in refused} == {400}
        refused.append(await world.http.post(f"/v1/events?format={plants.make('google', 'the format')}", content=b"{}"))
        refused.append(await world.post(b"{}", authorization=f"Bearer {plants.make('litellm', 'a wrong token')}"))
        found = await everything(world, rows=rows, dead=0, told=len(KINDS))
    said = "\n".join(f"{answer.text} {answer.headers}" for answer in (*answers, *refused))
    look_through(plants, found | {"logs": log_stream.getvalue(), "HTTP answers": said})


def reports(plants: Plants, kind: str) -> list[Event]:
    """Reports of leaked keys that repeat the secret wherever there is room for it, also that of a neighbour."""
    secret, other = plants.make(kind, "a reported key"), plants.make(kind, "a key in a neighbour's address")
    codes = "".join(f"%{byte:02x}" for byte in secret.encode())
    plants.parts[f"{kind} in percent codes"] = codes[-30:]
    odd = plants.parts[f"of no known kind, beside {kind}"] = f"Acme{secret_part(secret)[::-1]}"
    told = [
        {"key": secret, "source": "paste", "url": f"https://paste.example/?q={secret}#{other}", "by": secret},
        {"key": secret, "source": f"log: {secret}", "url": f"https://user:{secret}@{secret}.example/", "type": secret},
        {"key": secret, "source": "paste", "url": f"https://paste.example/{codes}"},
        {"key": other, "source": "paste", "url": f"https://paste.example/{quote(other, safe='')}"},
        {"key": odd, "source": f"log {odd}", "url": f"https://paste.example/{odd}", "by": f"{odd}@example.com"},
        {"key_id": plants.make(kind, "a reported name"), "source": "paste", "unknown": plants.make(kind, "an extra")},
        {"key_id": LEAKED, "source": plants.make(kind, "a source"), "url": plants.make(kind, "an address")},
    ]
    return [report | {"found_at": T0_MS} for report in told]


def refused_reports(plants: Plants, kind: str) -> list[bytes]:
    """Reports with one mistake each, the secret in or beside it."""
    secret = plants.make(kind, "a refused report")
    good = {"key": secret, "source": "paste"}
    wrong = ({"found_at": secret}, {"confidence": secret}, {"key_id": secret}, {"url": [secret]}, {"source": None})
    return [orjson.dumps(good | each) for each in wrong] + [orjson.dumps(good)[:-4], orjson.dumps(secret)]


async def test_no_secret_of_a_leak_report_is_told_again(
    tansu_broker: Broker, prefix: str, tmp_path: Path, log_stream: io.StringIO
) -> None:
    """All of them are of keys in use, so that every report goes all the way to people; GitHub's feedback has hashes."""
    plants, github = Plants(4), Signer()
    (tmp_path / "github.json").write_bytes(orjson.dumps({"public_keys": [github.listed]}))
    leaks = LeaksConfig(github=True, github_keys_file=str(tmp_path / "github.json"))
    async with running(tansu_broker, prefix, tmp_path, keys=(LEAKED,), leaks=leaks) as world:
        told = [report for kind in KINDS for report in reports(plants, kind)]
        secrets = list(dict.fromkeys(report["key"] for report in told if "key" in report))
        await world.produce(*(use(f"use-{n}", None, T0_MS, key=secret) for n, secret in enumerate(secrets)))
        await until(lambda: _stored(world, len(secrets)), "their use is stored")
        matches = [
            {"token": plants.make(kind, "a match"), "type": plants.make(kind, "a type"), "source": "commit",
             "url": f"https://github.com/a/b?x={plants.make(kind, 'a match address')}"}
            for kind in KINDS
        ]  # fmt: skip
        body = orjson.dumps(matches + [{"token": report.get("key"), "source": "commit"} for report in told])
        headers = {"github-public-key-identifier": "ours", "github-public-key-signature": github.sign(body)}
        answers = [await world.http.post("/v1/leaks", content=orjson.dumps(told))]
        assert {one["known"] for one in answers[0].json()["reports"]} == {"in_use", "registered", "unknown"}
        wrong = [value for kind in KINDS for value in refused_reports(plants, kind)]
        refused = [await world.http.post("/v1/leaks", content=value) for value in wrong]
        assert {answer.status_code for answer in refused} == {400}
        refused.append(await world.http.post("/v1/leaks/github", content=body))
        assert refused[-1].status_code == 401
        answers.append(await world.http.post("/v1/leaks/github", content=body, headers=headers))
        assert answers[-1].status_code == 200, answers[-1].text
        keys = len(secrets) + 1
        found = await everything(world, rows=len(secrets), dead=0, told=keys, without=Topic.RAW)
        await until(lambda: _written_down(world), "each report is in the audit")
        found["table audit"] = str(await world.rows("SELECT record FROM audit"))
    said = "\n".join(f"{answer.text} {answer.headers}" for answer in (*answers, *refused))
    look_through(plants, found | {"logs": log_stream.getvalue(), "HTTP answers": said})
    assert "paste.example" in found["slack"], "the addresses themselves are told"


async def _stored(world: World, count: int) -> bool:
    return await world.archived() == count


async def _written_down(world: World) -> bool:
    [(unknown, known)] = await world.rows(
        "SELECT countIf(result = 'unknown'), countIf(result != 'unknown') FROM audit FINAL WHERE action = 'leak'"
    )
    return bool(unknown >= len(KINDS) and known >= len(KINDS))


def expected(world: World, values: list[bytes]) -> tuple[int, int]:
    """Rows and dead letters of these records."""
    install = world.worker.install
    parser = install.parser(max_future_s=30)
    parsed = parser.parse(
        [RawRecord(0, at, value, None) for at, value in enumerate(values)], topic="", now_ms=T0_MS + 1
    )
    return parsed.frame.num_rows, len(parsed.dead)


async def everything(world: World, *, rows: int, dead: int, told: int, without: Topic | None = None) -> dict[str, str]:
    """All that can be read anywhere, as text, once every stage is done."""
    topics, bootstrap = world.worker.install.topics, world.worker.bootstrap

    async def stored() -> bool:
        return (await world.archived(), (await world.rows("SELECT count() FROM dead_letters"))[0][0]) == (rows, dead)

    await until(stored, f"{rows} rows and {dead} dead letters stored")
    incidents = world.watch.incidents  # grows while we wait
    await until(lambda: len(incidents) >= told, lambda: f"{told} incidents; there are {len(incidents)}")
    board = world.board
    for shows in (board.slack_shows, board.hooks, board.pages):
        await until(_all_shown(shows, incidents), f"{shows.__name__} of every incident")
    found = {
        f"topic {spec.name.removeprefix(topics.prefix)}": await spelled_out(bootstrap, spec.name, spec.partitions)
        for spec in topics.specs()
        if without is None or spec.name != topics.name(without)
    }
    columns = (
        "SELECT table, groupArray(name) FROM system.columns WHERE database = currentDatabase() AND {0} GROUP BY table"
    )
    readable = "type NOT LIKE 'Aggregate%'"  # the others hold hashes
    for table, names in await world.rows(columns.format(readable)):
        found[f"table {table}"] = str(
            await world.rows(f"SELECT {', '.join(f'`{name}`' for name in names)} FROM `{table}`")
        )
    for name in ("slack", "pagerduty", "webhook"):
        found[name] = str(getattr(world.board, name).arrived)
    for path in ("/metrics", "/healthz", "/readyz", "/v1/keys?hours=100000", "/v1/incidents"):
        found[path] = (await world.stored(path)).text
    return found


def _all_shown(shows: Callable[[str], object], incidents: Mapping[str, object]) -> Callable[[], bool]:
    return lambda: all(shows(one) for one in list(incidents))


async def spelled_out(bootstrap: str, topic: str, partitions: int) -> str:
    """Keys and values of a topic as text; frames and checkpoints unpacked."""
    records = [record for partition in range(partitions) for record in await read_all(bootstrap, topic, partition)]
    return "\n".join(f"{key!r} {_text(value or b'')}" for key, value in records)


def _text(value: bytes) -> str:
    if value.startswith(codec.MAGICS):
        return str(codec.decode(value)[0])
    if value.startswith(b"\xff\xff\xff\xff"):  # an Arrow stream
        return str(decode_frame(value).to_pylist())
    return value.decode("utf-8", "backslashreplace")


def look_through(plants: Plants, found: dict[str, str]) -> None:
    """Nothing is empty by mistake, and nothing holds a secret."""
    assert [
        name
        for name in ("topic usage.frames", "topic keyfuse.score-state", "table usage_events", "slack")
        if len(found[name]) < 100
    ] == []
    assert {name: seen for name, text in found.items() if (seen := plants.seen_in(text))} == {}


def test_the_search_itself_finds_what_is_there() -> None:
    plants = Plants(3)
    secret: Any = plants.make("google", "a test")
    assert plants.seen_in(f"x{secret}y") == ["google in a test"]
    assert plants.seen_in(_text(codec.encode({"keys": [secret]}, {}))) == ["google in a test"]
