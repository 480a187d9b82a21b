"""What the burst benchmark counts, whom it holds, and what it calls broken. No time is asserted here."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from benchmarks.burst_senders import Senders, request_id, template
from benchmarks.burst_verdicts import broken, compared
from benchmarks.burst_world import cpu_s, held
from schemas.event import UsageEvent
from tests.integration.world import until

EVENTS = 3


class Intake:
    """Answers as it is told, in turn, and keeps what came."""

    def __init__(self, *answers: int | Exception) -> None:
        self.bodies: list[bytes] = []
        self._answers = list(answers)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(await request.aread())
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, json={"detail": "too much at once"} if answer == 429 else {"accepted": EVENTS})


async def sent(intake: Intake, *, per_s: float, seconds: float, first: int = 0) -> dict[str, Any]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(intake)) as http:
        senders = Senders(http, "http://intake", events=EVENTS, first=first)
        await senders.due(per_s, seconds)
        return senders.told()


async def test_each_answer_counts_and_a_connection_that_breaks_is_told_apart() -> None:
    told = await sent(Intake(202, 429, httpx.ReadError("reset"), 202), per_s=1000, seconds=0.004, first=7)
    assert told["statuses"] == {"202": 2, "429": 1}
    assert (told["broken"], told["details"]) == ({"ReadError": 1}, {"too much at once": 1})
    assert told["requests"] == 4
    assert len(told["accepted"]) == 2
    assert set(told["accepted"]) < {7, 8, 9, 10}


async def test_every_request_has_events_of_its_own_that_the_intake_can_read() -> None:
    intake = Intake(202, 202)
    await sent(intake, per_s=1000, seconds=0.002, first=41)
    events = [UsageEvent.model_validate(orjson.loads(line)) for body in intake.bodies for line in body.splitlines()]
    begins = [event.event_id[: len(request_id(0))] for event in events]
    assert sorted(begins) == sorted([request_id(41), request_id(42)] * EVENTS)
    assert len({event.event_id for event in events}) == len(events) == template(EVENTS).count(b"event_id") * 2


def test_a_lost_row_is_seen_and_so_is_a_request_that_was_not_accepted() -> None:
    assert compared([0], {request_id(0): 3}, 3) == {"accepted": 3, "rows": 3, "incomplete": 0, "of_others": 0}
    assert compared([0, 1], {request_id(0): 3}, 3)["incomplete"] == 1
    assert compared([0], {request_id(0): 4}, 3)["incomplete"] == 1
    assert compared([], {request_id(5): 3}, 3)["of_others"] == 3


def found(**changed: Any) -> dict[str, Any]:
    """Of a run in which all holds, but for what is changed: `kafka__rows=9`."""
    run: dict[str, Any] = {
        "kafka": {
            "sent_in_all": 10, "rows": 10, "distinct": 10, "dead_letters": 0, "rss_growth_mb": 50.0, "begun_anew": 0,
            "takes_per_s": 10, "offered_per_s": 191,
        },
        "intake": {
            "statuses": {"202": 5, "429": 95}, "broken": {}, "incomplete": 0, "rows": 15, "distinct": 15,
            "rss_growth_mb": 20.0, "after": {"statuses": {"202": 3}}, "of_others": 0,
        },
        "rss_bound_mb": 100.0, "sizes": {"times": 20},
    }  # fmt: skip
    for name, value in changed.items():
        half, _, field = name.partition("__")
        run[half][field] = value
    return run


def test_a_run_in_which_all_holds_is_not_broken() -> None:
    assert broken(found()) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"kafka__rows": 9},
        {"kafka__rows": 11},
        {"kafka__distinct": 9},
        {"kafka__dead_letters": 1},
        {"kafka__begun_anew": 1},
        {"kafka__offered_per_s": 189},
        {"intake__of_others": 5},
        {"kafka__rss_growth_mb": 100.1},
        {"intake__rss_growth_mb": 100.1},
        {"intake__statuses": {"202": 5, "429": 90, "503": 5}},
        {"intake__statuses": {"202": 100}},
        {"intake__broken": {"ReadError": 1}},
        {"intake__incomplete": 1},
        {"intake__distinct": 14},
        {"intake__after": {"statuses": {"429": 3}}},
    ],
)
def test_each_part_of_the_promise_can_break(changed: dict[str, Any]) -> None:
    assert len(broken(found(**changed))) == 1


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_process_is_held_to_its_share_and_runs_on_when_it_is_let_go() -> None:
    spinning = await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
    try:
        with held(spinning.pid, 0.05):
            await until(lambda: state(spinning.pid) == "T", "it is stopped")
            await until(lambda: cpu_s(spinning.pid) > 0, "it runs now and then all the same")
        await until(lambda: state(spinning.pid) == "R", "it runs")
        assert os.sched_getscheduler(spinning.pid) == os.SCHED_OTHER
    finally:
        spinning.kill()
        await spinning.wait()
