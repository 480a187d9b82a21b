"""Keyfuse and PagerDuty answer each other: whoever speaks first, both end up saying the same, and then fall silent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from alerting.answered import on_request
from alerting.answers.desk import Desk
from alerting.answers.pagerduty import PagerDutyWebhook
from alerting.case import KeyCase
from alerting.channels.base import Channel, DeliveryState
from alerting.incidents import Change, on_finding, on_outcome
from alerting.silence import on_silence
from controls.people import People
from schemas.config import PeopleConfig
from schemas.records import Incident, PeoplesAction, Request, StepState
from tests.alerting.kinds import build
from tests.alerting.pagerduty_service import SECRET, PagerDutyService, sign
from tests.alerting.servers import Arrived, serving
from tests.alerting.world import BUDGETS, KEY, RESPONSES, T0_MS, finding, outcome

SAYS: dict[str, set[str]] = {
    "open": {"triggered"}, "acknowledged": {"acknowledged"}, "contained": {"triggered", "acknowledged"},
    "resolved": {"resolved"}, "false_positive": {"resolved"},
}  # fmt: skip
"""What PagerDuty may say at the end of each of our states; a cut is none of its own."""
TEAM = People(
    PeopleConfig.model_validate(
        {"people": {"rosa": {"role": "responder", "pagerduty": "PROSA1"}, "vera": {"role": "viewer"}}}
    )
)


class Both:
    """A key's incidents here and there. What one side has told and the other has not heard waits, each in its order."""

    def __init__(self, service: PagerDutyService, channel: Channel) -> None:
        self.service, self._channel = service, channel
        self._case: KeyCase | None = None
        self._shown: dict[str, DeliveryState] = {}
        self._untold: list[Incident] = []
        self.known: dict[str, Incident] = {}
        self._at_s = 0
        desk = Desk(people=lambda: TEAM, incidents=self, send=self._take, now_ms=lambda: T0_MS)
        self._webhook = PagerDutyWebhook({"oncall": SecretStr(SECRET)}, desk, now_ms=lambda: T0_MS)

    @property
    def ours(self) -> Incident:
        assert self._case is not None
        assert self._case.incident is not None
        return self._case.incident

    def get(self, incident_id: str) -> Incident | None:
        return self.known.get(incident_id)

    def of_key(self, _: str) -> Incident | None:
        return self.ours

    def open(self) -> list[Incident]:
        return [self.ours]

    def complete(self) -> bool:
        return True

    async def _take(self, request: Request) -> None:
        if request.incident_id == self.ours.incident_id:  # the decide stage heeds no word about an older one
            self.apply(on_request(self._case, request, at_ms=request.at_ms))

    def apply(self, change: Change) -> None:
        self._case = change.case
        self._untold += change.incidents
        self.known |= {each.incident_id: each for each in change.incidents}

    def find(self, family: str = "velocity") -> None:
        self._at_s += 200
        found = finding(self._at_s, family, usd_per_min=30.0)
        self.apply(on_finding(self._case, found, responses=RESPONSES, budgets=BUDGETS))

    def end(self, state: StepState) -> None:
        """A step of ours ended."""
        ended = outcome(state=state, at_s=self._at_s, incident_id=self.ours.incident_id, attempts=3)
        self.apply(on_outcome(self._case, ended, at_ms=ended.at_ms))

    def say(self, action: PeoplesAction) -> None:
        """A person spoke here."""
        self._at_s += 1
        request = Request(
            request_id=f"r{self._at_s}", at_ms=self._now_ms, by="rosa", action=action, key_id=KEY,
            until_ms=self._now_ms + 60_000,
        )  # fmt: skip
        self.apply(on_request(self._case, request, at_ms=request.at_ms))

    def wait(self) -> None:
        """Two minutes without a word."""
        self._at_s += 120
        assert self._case is not None
        self.apply(on_silence(self._case, self._now_ms, responses=RESPONSES))

    @property
    def _now_ms(self) -> int:
        return T0_MS + self._at_s * 1000

    async def tell(self) -> None:
        """The oldest version that PagerDuty has not heard."""
        if self._untold:
            version = self._untold.pop(0)
            name = version.incident_id
            self._shown[name] = await self._channel.deliver(version, self._shown.get(name))

    async def hear(self) -> None:
        """The oldest call that waits there; it comes twice, as it may."""
        if self.service.calls:
            body = self.service.calls.pop(0)
            for _ in range(2):
                assert (await self._webhook.take(body, sign(body))).status == 202

    async def settle(self) -> None:
        """All is told and heard. A loop between the two would never end."""
        for _ in range(200):
            if not self._untold and not self.service.calls:
                return
            await self.tell()
            await self.hear()
        raise AssertionError("they go on answering each other")

    def differ(self) -> dict[str, tuple[str, str]]:
        """Incidents of which both sides say something else."""
        both = {name: (one.state, self.service.states[name]) for name, one in self.known.items()}
        return {name: (ours, theirs) for name, (ours, theirs) in both.items() if theirs not in SAYS[ours]}

    async def do(self, what: str) -> None:
        done = DOES[what](self)
        if done is not None:
            await done  # type: ignore[misc]  # tell and hear


DOES: dict[str, Callable[[Both], object]] = {
    "acknowledged there": lambda both: both.service.acknowledge("PROSA1"),
    "resolved there": lambda both: both.service.resolve("PROSA1"),
    "acknowledged here": lambda both: both.say("acknowledge"),
    "resolved here": lambda both: both.say("resolve"),
    "false positive here": lambda both: both.say("false_positive"),
    "snoozed here": lambda both: both.say("snooze"),
    "two minutes later": Both.wait,
    "another finding": lambda both: both.find("economics"),
    "cut": lambda both: both.end(StepState.CONFIRMED),
    "cut failed": lambda both: both.end(StepState.IRREVOCABLE),
    "still spends": lambda both: both.find(),
    "told": Both.tell,
    "heard": Both.hear,
    "all told and heard": Both.settle,
}


@asynccontextmanager
async def both_sides() -> AsyncIterator[Both]:
    """One open incident of which PagerDuty has been told nothing yet."""
    service = PagerDutyService(T0_MS)

    def well(arrived: Arrived, _: int) -> str:
        service.enqueue(arrived.json)
        return json.dumps({"status": "success", "message": "Event processed", "dedup_key": arrived.json["dedup_key"]})

    async with serving(well) as server:
        channel = build("pagerduty", server.url)
        both = Both(service, channel)
        both.find()
        yield both
        await channel.close()


STORIES = {
    "acknowledged there": ("told", "acknowledged there"),
    "acknowledged here": ("told", "acknowledged here"),
    "acknowledged by both at once": ("told", "acknowledged there", "acknowledged here"),
    "resolved there": ("told", "resolved there"),
    "resolved there while we have news": ("told", "resolved there", "another finding", "told", "heard"),
    "resolved here while it is acknowledged there": ("told", "acknowledged there", "resolved here", "told"),
    "harmless here while it is resolved there": ("told", "resolved there", "false positive here"),
    "acknowledged there, then a cut": ("told", "acknowledged there", "heard", "cut", "told"),
    "a cut, then acknowledged there": ("told", "cut", "told", "acknowledged there"),
    "acknowledged there after a cut that does not hold": ("told", "cut", "told", "acknowledged there", "still spends"),
    "a cut that is in hand there does not hold": (
        "cut", "all told and heard", "acknowledged there", "all told and heard", "still spends",
    ),
    "snoozed here, and nobody said more": ("snoozed here", "all told and heard", "two minutes later"),
    "snoozed here while it is acknowledged there": ("told", "acknowledged there", "snoozed here", "two minutes later"),
    "a cut fails after it was acknowledged there": ("told", "acknowledged there", "heard", "cut failed"),
    "acknowledged before it was told of here": ("acknowledged here",),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
async def test_both_say_the_same_in_the_end(name: str) -> None:
    async with both_sides() as both:
        for what in STORIES[name]:
            await both.do(what)
        await both.settle()
        assert both.differ() == {}


@given(st.lists(st.sampled_from(sorted(DOES)), max_size=14))
@settings(max_examples=60, deadline=None)
async def test_both_say_the_same_in_whatever_order_it_happens(happens: list[str]) -> None:
    async with both_sides() as both:
        for what in happens:
            await both.do(what)
        await both.settle()
        assert both.differ() == {}


async def test_an_answer_makes_one_event_and_no_more() -> None:
    async with both_sides() as both:
        await both.settle()
        both.service.acknowledge("PROSA1")
        await both.settle()
        assert (both.ours.state, both.ours.by, both.ours.seq) == ("acknowledged", "rosa", 2)
        assert both.service.events == 2  # trigger, and the acknowledgement that it knows already
        assert both.service.pages == 1


async def test_who_may_not_acknowledge_leaves_it_open_here() -> None:
    async with both_sides() as both:
        await both.settle()
        both.service.acknowledge("PSTRANGE")
        await both.settle()
        assert (both.ours.state, both.service.state) == ("open", "acknowledged")


async def test_what_is_open_again_pages_again() -> None:
    """Whoever had it in hand believes that the key is cut."""
    async with both_sides() as both:
        both.end(StepState.CONFIRMED)
        await both.settle()
        both.service.acknowledge("PROSA1")
        await both.settle()
        both.find()
        await both.settle()
        assert (both.ours.state, both.service.state, both.service.pages) == ("open", "triggered", 2)


async def test_the_pager_goes_off_again_there_when_nobody_did_anything_and_nothing_changes_here() -> None:
    async with both_sides() as both:
        await both.settle()
        both.service.acknowledge("PROSA1")
        await both.settle()
        both.service.time_out()
        await both.settle()
        assert (both.ours.state, both.service.state) == ("acknowledged", "triggered")
