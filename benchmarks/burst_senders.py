"""Sends bodies of events to the HTTP intake: each when it is due, whatever became of those before, or in turn.

    python -m benchmarks.burst_senders --url URL --token TOKEN --first 0 --per-s 80 --seconds 120
    python -m benchmarks.burst_senders --url URL --token TOKEN --first 0 --at-once 4 --seconds 10

Nothing is sent again. Prints what the requests were answered, and the numbers of those that were accepted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import httpx
import orjson

from benchmarks.workload import Workload, keys_of
from service.install import wall_ms

_TIMEOUT_S: Final = 60.0
_NUMBER: Final = b"%NUMBER%"
_TIME: Final = b"1234567890123"


def request_id(number: int) -> str:
    """What the event ids of a request begin with.

    >>> request_id(12)
    'http-00000012'
    """
    return f"http-{number:08d}"


def template(events: int) -> bytes:
    """A body of so many events, with a place for the number of the request and one for the time."""
    keys = keys_of(Workload(0, keys=1000))
    lines = (
        f'{{"event_id":"http-{_NUMBER.decode()}-{n:06d}","ts":{_TIME.decode()},"input_tokens":700,"output_tokens":150,'
        f'"status":200,"latency_ms":612.5,"ip":"10.1.2.3",{keys[n * 7 % len(keys)].constant}}}'
        for n in range(events)
    )
    return "\n".join(lines).encode()


class Senders:
    """Counts of what requests came to."""

    def __init__(self, http: httpx.AsyncClient, url: str, *, events: int, first: int) -> None:
        self._http, self._url, self._body = http, f"{url}/v1/events", template(events)
        self._next = first
        self._under_way = 0
        self.most_under_way = 0
        self.statuses: Counter[int] = Counter()
        self.details: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self.accepted: list[int] = []
        self.answered_s: list[float] = []

    async def due(self, per_s: float, seconds: float) -> None:
        """Open loop. Returns when all are answered."""
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as sending:
            for number in range(round(per_s * seconds)):
                await asyncio.sleep(max(0.0, began_s + number / per_s - time.monotonic()))
                sending.create_task(self.send())

    async def in_turn(self, at_once: int, seconds: float) -> None:
        """Closed loop: each sender has one request under way."""
        until_s = time.monotonic() + seconds

        async def sender() -> None:
            while time.monotonic() < until_s:
                await self.send()

        async with asyncio.TaskGroup() as sending:
            for _ in range(at_once):
                sending.create_task(sender())

    async def send(self) -> None:
        number, self._next = self._next, self._next + 1
        body = self._body.replace(_NUMBER, b"%08d" % number).replace(_TIME, b"%d" % wall_ms())
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        began_s = time.monotonic()
        try:
            answer = await self._http.post(self._url, content=body)
        except httpx.HTTPError as error:
            self.broken[type(error).__name__] += 1
        else:
            self._note(number, answer)
        finally:
            self._under_way -= 1
            self.answered_s.append(time.monotonic() - began_s)

    def _note(self, number: int, answer: httpx.Response) -> None:
        self.statuses[answer.status_code] += 1
        if answer.status_code == httpx.codes.ACCEPTED:
            self.accepted.append(number)
        else:
            self.details[str(orjson.loads(answer.content).get("detail", ""))] += 1

    def told(self) -> dict[str, Any]:
        return {
            "requests": sum(self.statuses.values()) + sum(self.broken.values()),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "details": dict(self.details), "broken": dict(self.broken), "most_under_way": self.most_under_way,
            "slowest_s": round(max(self.answered_s, default=0.0), 1), "accepted": sorted(self.accepted),
        }  # fmt: skip


async def send(asked: argparse.Namespace) -> dict[str, Any]:
    """One run."""
    headers = {"authorization": f"Bearer {asked.token}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=headers, timeout=_TIMEOUT_S, trust_env=False, limits=limits) as http:
        senders = Senders(http, asked.url, events=asked.events, first=asked.first)
        if asked.at_once:
            await senders.in_turn(asked.at_once, asked.seconds)
        else:
            await senders.due(asked.per_s, asked.seconds)
        return senders.told()


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--events", type=int, default=500, help="in each body")
    parser.add_argument("--first", type=int, required=True, help="number of the first request; no two are the same")
    parser.add_argument("--per-s", type=float, default=0)
    parser.add_argument("--at-once", type=int, default=0)
    parser.add_argument("--seconds", type=float, required=True)
    print(json.dumps(asyncio.run(send(parser.parse_args(given)))))


if __name__ == "__main__":
    main()
