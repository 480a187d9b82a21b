"""`keyfuse simulate`: made-up traffic to a file, the HTTP intake or Kafka."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import httpx
import orjson
from rich.console import Console

from service.errors import UserError
from service.install import Install, Running, wall_ms
from service.request_commands import bootstrap_of
from sources.simulator.keys import SimKey, make_keys
from sources.simulator.shapes import SHAPES
from sources.simulator.thefts import Theft, plant
from sources.simulator.traffic import generate
from streams.kafka import producer, wait_for_broker
from streams.topics import Topic

_BATCH: Final = 500
_THEFT_SHARE: Final = 0.25  # the theft fills the last quarter


class Sink(Protocol):
    """Takes one batch of events."""

    async def send(self, events: list[dict[str, Any]]) -> None: ...


def main(
    *, to: str, destination: str, keys: int, minutes: float, theft: str, seed: int, config: Path, err: Console
) -> None:
    """Make the traffic; event time ends now."""
    if to not in ("file", "http", "kafka"):
        raise UserError(f"--to {to}: expected file, http or kafka")
    events = traffic(keys=keys, minutes=minutes, theft=theft, seed=seed, end_ms=wall_ms())
    count = _to_file(events, destination) if to == "file" else asyncio.run(_to_service(events, to, config))
    err.print(f"{count:,} events of {keys} keys over {minutes:g} minutes" + (f", with a {theft}" if theft else ""))


def list_shapes(out: Console) -> None:
    """The thefts there are, a name and a sentence each."""
    width = max(map(len, SHAPES))
    out.print("\n".join(f"{name:<{width}}  {shape.told}" for name, shape in SHAPES.items()), markup=False)


def traffic(*, keys: int, minutes: float, theft: str, seed: int, end_ms: int) -> Iterator[dict[str, Any]]:
    """Native events in time order; with a theft in the last quarter. UserError for a theft that cannot be."""
    made = make_keys(keys, seed=seed, min_active_share=0.05)
    duration_s = minutes * 60
    start_ms = end_ms - int(duration_s * 1000)
    thefts = [_theft(theft, made, end_ms, duration_s * _THEFT_SHARE, seed=seed)] if theft else []
    told = plant(generate(made, start_ms=start_ms, duration_s=duration_s, seed=seed), thefts)
    return (dict(event) for event, _ in told)


def _theft(name: str, made: Sequence[SimKey], end_ms: int, theft_s: float, *, seed: int) -> Theft:
    """Of the first production keys, or of the first keys where there are too few of those."""
    if name not in SHAPES:
        raise UserError(f"--theft {name}: expected one of {', '.join(SHAPES)}")
    needed = SHAPES[name].least_keys
    if len(made) < needed:
        raise UserError(f"--theft {name} needs --keys {needed} or more")
    taken = tuple(sorted(made, key=lambda key: key.env != "prod")[:needed])
    return Theft(name, taken, end_ms - int(theft_s * 1000), theft_s, seed=seed)


def _to_file(events: Iterable[dict[str, Any]], destination: str) -> int:
    lines = (orjson.dumps(event) + b"\n" for event in events)
    if destination == "-":
        count = _write(lines, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return count
    try:
        with Path(destination).open("wb") as stream:
            return _write(lines, stream)
    except OSError as error:
        raise UserError(f"--out {destination}: cannot be written: {error.strerror}") from error


def _write(lines: Iterable[bytes], stream: BinaryIO) -> int:
    count = 0
    for count, line in enumerate(lines, 1):  # noqa: B007 - the last number is the count
        stream.write(line)
    return count


async def _to_service(events: Iterator[dict[str, Any]], to: str, config: Path) -> int:
    install = Install.open(config)
    count = 0
    async with _http(install) if to == "http" else _kafka(install) as sink:
        while batch := list(islice(events, _BATCH)):
            await sink.send(batch)
            count += len(batch)
    return count


class _HttpSink:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def send(self, events: list[dict[str, Any]]) -> None:
        body = b"\n".join(orjson.dumps(event) for event in events)
        while True:
            answer = await self._client.post(
                "/v1/events", content=body, headers={"content-type": "application/x-ndjson"}
            )
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            await asyncio.sleep(float(answer.headers.get("retry-after", "1")))
        if answer.status_code != httpx.codes.ACCEPTED:
            raise UserError(f"the intake answered {answer.status_code}: {answer.text[:300]}")


@asynccontextmanager
async def _http(install: Install) -> AsyncIterator[Sink]:
    running = Running.find(install.data_dir)
    intake = install.folder.wiring.intake
    url = running.url if running else f"http://{intake.host}:{intake.port}"
    headers = {"authorization": f"Bearer {install.intake_token().get_secret_value()}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        try:
            yield _HttpSink(client)
        except httpx.TransportError as error:
            raise UserError(f"nobody answers at {url}: start `keyfuse up` first ({error})") from error


@asynccontextmanager
async def _kafka(install: Install) -> AsyncIterator[Sink]:
    bootstrap = bootstrap_of(install)
    await wait_for_broker(bootstrap, timeout_s=5)
    sender = producer(bootstrap, linger_ms=5)
    await sender.start()
    try:
        yield KafkaSink(sender, install.topics.name(Topic.RAW))
    finally:
        await sender.stop()


class KafkaSink:
    """One record an event; all acknowledged before `send` returns."""

    def __init__(self, sender: Any, topic: str) -> None:  # noqa: ANN401 - aiokafka's producer ships no types
        self._sender = sender
        self._topic = topic

    async def send(self, events: list[dict[str, Any]]) -> None:
        acks = [
            await self._sender.send(self._topic, orjson.dumps(event), key=str(event["key_id"]).encode())
            for event in events
        ]
        await asyncio.gather(*acks)
