"""A gate that falls silent is told once, as an incident of its own, which ends by itself."""

from __future__ import annotations

from collections.abc import Iterable

from alerting.channels.slack_buttons import answers_to
from alerting.message import plain
from schemas.config.wiring import GateConfig
from schemas.gate_report import GateReport
from schemas.records import Incident, Record
from streams.decide_core import NO_GATE
from streams.gate_watch import FORGOTTEN_S, GateWatch, watch_gates
from streams.gates_heard import GatesHeard
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic
from tests.streams.test_gates_heard import NOW_MS
from tests.streams.world import decider, request

SETTINGS = GateConfig(stale_after_s=30)


class World:
    """Gates that report, or not, under clocks by hand; once a second somebody looks."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self.gates = GatesHeard(now_ms=self.now_ms, tick_s=lambda: self.at_s)
        self.gates.caught_up()
        self.watch = self.new_watch()

    def now_ms(self) -> int:
        return NOW_MS + round(self.at_s * 1000)

    def new_watch(self) -> GateWatch:
        return GateWatch(self.gates, lambda: SETTINGS, now_ms=self.now_ms, tick_s=lambda: self.at_s)

    def report(self, replica: str, *, leaving: bool = False) -> None:
        report = GateReport(
            replica=replica, at_ms=self.now_ms(), started_ms=NOW_MS, every_s=1, verdicts={}, leaving=leaving
        )  # fmt: skip
        self.gates.take(None, report.to_bytes())

    def wait(self, seconds: float, *reporting: str, reached: bool = True) -> list[Incident]:
        """What was told meanwhile."""
        told: list[Incident] = []
        for _ in range(round(seconds)):
            self.at_s += 1
            for replica in reporting:
                self.report(replica)
            for incident in self.watch.look(reached=reached):
                self.watch.take(None, incident.to_bytes())
                told.append(incident)
        return told


def test_gates_that_report_are_not_spoken_of() -> None:
    assert World().wait(100, "a", "b") == []


def test_one_that_falls_silent_is_told_once_with_what_it_does_now() -> None:
    world = World()
    world.wait(40, "a", "b")
    (told,) = world.wait(600, "a")
    assert (told.key_id, told.state, told.severity, told.seq) == ("gate:b", "open", "critical", 1)
    assert told.of_no_key
    assert told.headline.startswith("gate b has not reported for 30 s and did not take its leave")
    assert "what fails open (all but dev) goes on, each key for at most $20.00 a minute" in told.headline
    assert world.watch.silent() == 1


def test_it_ends_when_the_gate_reports_again_and_the_next_silence_is_another() -> None:
    world = World()
    world.wait(40, "a", "b")
    (first,) = world.wait(60, "a")
    (ended,) = world.wait(5, "a", "b")
    assert (ended.incident_id, ended.seq, ended.state) == (first.incident_id, 2, "resolved")
    assert ended.transition == "Resolved: gate b reports again."
    (second,) = world.wait(60, "a")
    assert second.incident_id != first.incident_id


def test_it_ends_after_a_day() -> None:
    world = World()
    world.wait(40, "b")
    world.wait(60)
    world.at_s += FORGOTTEN_S
    (ended,) = world.wait(100)
    assert ended.transition.endswith("silent for a day, and is taken for gone.")


def test_one_that_takes_its_leave_is_not_missed() -> None:
    world = World()
    world.wait(40, "a", "b")
    world.report("b", leaving=True)
    assert world.wait(600, "a") == []


def test_while_the_broker_is_away_nothing_is_said_and_then_gates_have_time_to_report() -> None:
    world = World()
    world.wait(40, "a", "b")
    assert world.wait(300, reached=False) == []
    assert world.wait(20) == []
    assert world.wait(100, "a", "b") == []


def test_a_watch_that_stood_still_begins_to_count_anew() -> None:
    world = World()
    world.wait(40, "a", "b")
    world.at_s += 1000
    assert world.wait(100, "a", "b") == []


def test_another_worker_says_the_same_and_does_not_say_it_again() -> None:
    world, other = World(), World()
    for each in (world, other):
        each.wait(40, "a", "b")
    (told,), (same,) = world.wait(60, "a"), other.wait(60, "a")
    assert (told.incident_id, told.seq) == (same.incident_id, same.seq)
    world.watch = world.new_watch()
    world.watch.take(None, told.to_bytes())
    assert world.wait(100, "a") == []


class Away(Outbox):
    """A broker that does not take the first word."""

    def __init__(self) -> None:
        self.sent: list[Incident] = []
        self.calls = 0

    async def send(self, topic: Topic, records: Iterable[tuple[str, Record]]) -> dict[int, int]:
        records = list(records)
        self.calls += bool(records)
        if self.calls == 1 and records:
            raise OSError("away")
        self.sent += [record for _, record in records if isinstance(record, Incident)]
        return {}


async def test_what_the_broker_does_not_take_is_told_later() -> None:
    world, away, metrics = World(), Away(), Metrics()
    world.wait(40, "b")

    async def reached() -> bool:
        return True

    async def sleep(_: float) -> None:
        world.at_s += 1

    await watch_gates(
        world.watch, away, metrics, reached=reached, stopping=lambda: bool(away.sent), sleep=sleep
    )  # fmt: skip
    assert (away.calls, [each.key_id for each in away.sent]) == (2, ["gate:b"])
    assert b"keyfuse_gates_silent 1" in metrics.render()


def test_it_reads_as_one_of_a_gate_with_no_button_that_acts() -> None:
    world = World()
    world.wait(40, "b")
    (told,) = world.wait(60)
    text = plain(told)
    assert text.startswith("CRITICAL, open: gate:b\n")
    assert "Spends now" not in text
    assert answers_to(told, timezone="UTC") == []


def test_nobody_can_order_anything_of_it() -> None:
    decision = decider().request(None, request("contain", key_id="gate:b"))
    assert (decision.reason, decision.commands) == (NO_GATE, ())
    assert [row.result for row in decision.audit] == ["refused"]
