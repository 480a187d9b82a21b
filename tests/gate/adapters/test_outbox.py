"""What is told after calls arrives, in batches; what cannot is tried again; what is lost is counted and logged."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from gate.adapters.asking import Gate, Memory
from gate.adapters.outbox import Outbox
from gate.adapters.settings import Settings
from gate.adapters.wire import Answer

SETTINGS = Settings("http://gate", intake_url="http://intake", gate_token="g", intake_token="i", gather_s=0.01)
DENY = Answer("deny", "stolen", "verdict of incident i")


class World:
    """Gate and intake: `answers` first, then all is well."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []
        self.answers: list[int | Exception] = []
        self.bad: Callable[[Any], bool] = lambda _: False
        self.moved = threading.Condition()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.moved:
            try:
                answer = self.answers.pop(0) if self.answers else 200
                if isinstance(answer, Exception):
                    raise answer
                said = json.loads(request.content)
                answer = 400 if self.bad(said) else answer
                if answer == 200:
                    assert request.headers["authorization"] == f"Bearer {request.url.host[0]}"
                    self.got.append((request.url.path, said))
                return httpx.Response(answer)
            finally:
                self.moved.notify_all()

    def events(self) -> list[int]:
        return [event["n"] for path, said in self.got if path == "/v1/events" for event in said]

    def wait(self, held: Callable[[], bool]) -> None:
        with self.moved:
            assert self.moved.wait_for(held, 20), self.got


@contextmanager
def outbox(world: World, settings: Settings = SETTINGS) -> Iterator[Outbox]:
    made = Outbox(settings, transport=httpx.MockTransport(world))
    try:
        yield made
    finally:
        made.close(1)


def test_settlements_go_one_by_one_and_events_together() -> None:
    world = World()
    with outbox(world) as box:
        for number in range(5):
            box.tell({"n": number})
        box.settle({"reservation": "r1"})
    assert world.events() == [0, 1, 2, 3, 4]
    assert ("/v1/settle", {"reservation": "r1"}) in world.got
    assert (box.counts["told"], box.counts["settled"], box.waiting()) == (5, 1, 0)


@pytest.mark.parametrize("trouble", [503, 429, 401, httpx.ConnectError("away")], ids=str)
def test_what_is_not_taken_is_sent_again_and_comes_once(trouble: int | Exception) -> None:
    world = World()
    world.answers = [trouble, trouble]
    with outbox(world) as box:
        box.tell({"n": 1})
        world.wait(lambda: world.events() == [1])
    assert world.events() == [1]
    assert box.counts["lost_events"] == 0


def test_one_bad_event_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.bad = lambda said: isinstance(said, list) and any(event["n"] == 2 for event in said)
    with outbox(world) as box, caplog.at_level(logging.ERROR):
        for number in range(4):
            box.tell({"n": number})
        world.wait(lambda: sorted(world.events()) == [0, 1, 3])
    assert box.counts["refused_events"] == 1
    assert "refused events: 1 so far; answered 400" in caplog.text


def test_more_than_may_wait_loses_the_oldest_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.answers = [httpx.ConnectError("away")]
    with (
        caplog.at_level(logging.ERROR),
        outbox(
            world,
            Settings("http://gate", intake_url="http://intake", kept=3, gate_token="g", intake_token="i", gather_s=20),
        ) as box,
    ):
        for number in range(5):
            box.tell({"n": number})
    assert world.events() == [2, 3, 4]
    assert box.counts["lost_events"] == 2
    assert "lost events: 1 so far; more than 3 wait" in caplog.text


def test_what_is_left_at_the_end_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.answers = [503] * 1000
    with caplog.at_level(logging.ERROR), outbox(world) as box:
        box.tell({"n": 1})
        box.settle({"reservation": "r"})
    assert (box.counts["lost_events"], box.counts["lost_settlements"]) == (1, 1)
    assert "the process ends" in caplog.text


def test_without_an_intake_nothing_is_told() -> None:
    world = World()
    with outbox(world, Settings("http://gate")) as box:
        box.tell({"n": 1})
    assert world.got == []


class TestTheGateAway:
    def test_a_refused_key_stays_refused_and_others_go_by_the_setting(self) -> None:
        for fail, passes in (("open", True), ("closed", False)):
            memory = Memory(Settings("http://gate", fail=fail))
            memory.told("stolen", DENY)
            memory.told("odd", Answer("deny", rule="policy p: allowed_models"))
            assert not memory.without("stolen").passes
            assert [memory.without(who).passes for who in ("odd", "new")] == [passes, passes]

    def test_after_three_failures_one_call_a_second_finds_out_whether_it_is_back(self) -> None:
        memory = Memory(SETTINGS)
        for _ in range(3):
            assert memory.may_ask(100.0)
            memory.failed("away")
        assert [memory.may_ask(at) for at in (100.5, 101.0, 101.5, 102.0)] == [False, True, False, True]
        memory.told("k", Answer())
        assert memory.may_ask(102.1)

    @pytest.mark.parametrize(
        ("reply", "state"),
        [(httpx.Response(400), "deny"), (httpx.Response(500), "allow"), (httpx.Response(200, json={}), "allow")],
        ids=["a question it cannot take", "broken", "no gate at all"],
    )
    def test_an_odd_call_gets_past_no_rule(self, reply: httpx.Response, state: str) -> None:
        gate = Gate(SETTINGS, transport=httpx.MockTransport(lambda _: reply))
        assert gate.ask({"key_id": "k"}).state == state
        gate.close()
