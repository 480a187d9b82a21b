"""What a chaos run without any mistake leaves, to be changed by tests."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from benchmarks.chaos.collected import Collected
from benchmarks.chaos.ends import End, Outage, Told
from benchmarks.chaos.schedule import QUICK
from benchmarks.chaos.services import Effect, FailingServer
from benchmarks.chaos.told import Reasons
from benchmarks.chaos.traffic import Total, Traffic
from schemas.records import Command, DeadLetter, Outcome, StepState
from tests.alerting.servers import Arrived
from tests.containment.build import command, incident
from tests.integration.servers import Board
from tests.integration.uses import T0_MS, windows_of


def perfect(sent: Traffic) -> Collected:
    """What a run without any mistake leaves."""
    [stolen] = sent.stolen
    by_key = {key: [event for event in sent.events if event["key_id"] == key] for key, _ in sent.totals()}
    clock_s = T0_MS // 1000 + round(sent.end_s) + 10
    raw = {(record.partition, offset): record.value for offset, record in enumerate(sent.records)}
    dead = [
        DeadLetter(
            topic="usage.raw", partition=partition, offset=offset, index=each.place, reason=each.reason, bytes=1,
            at_ms=1,
        )
        for (partition, offset), value in raw.items()
        for each in sent.bad.get(value, ())
    ]  # fmt: skip
    cut = command(stolen)
    ended = Outcome(
        command_id=cut.command_id,
        incident_id="inc_1",
        key_id=stolen,
        step="disable",
        state=StepState.CONFIRMED,
        at_ms=1,
    )
    totals = {key: total_of(events) for key, events in by_key.items()}
    return Collected(
        raw=raw, lag={}, stored=(len(sent.events),) * 2, minutes=sent.totals(), hours=totals,
        windows={key: windows_of(events, clock_s) for key, events in by_key.items()}, clock_s=clock_s,
        spend={key: (total.tokens, total.nano_usd) for key, total in totals.items()}, dead_told=dead, dead_stored=dead,
        incidents={"inc_1": incident(key_id=stolen)}, commands=by_order(cut), outcomes={cut.command_id: [ended]},
        effects=[Effect(stolen, "disabled")], board=board(), audit_rows=3, audit_problems=[],
        ends=[killed()] * QUICK.least.ended, outages=[Outage("store is unreachable", 5, 5 + QUICK.store_away_s)],
        reasons=Reasons({}, []), rebalances=Counter({2: QUICK.least.rebalances}),
    )  # fmt: skip


def board(copied: str = "", *, copies: int = 0, every_s: float = 0.1, pagerduty_key: str = "inc_1") -> Board:
    """Everybody was told of inc_1 in the second 100: once, or so often more on one channel."""
    metadata = {"event_payload": {"incident_id": "inc_1", "seq": 1}}
    page = {"dedup_key": "inc_1", "event_action": "trigger", "payload": {"summary": "HIGH, open: a key [inc_1]"}}
    bodies = {
        "slack": ("/api/chat.postMessage", {"metadata": metadata}),
        "pagerduty": ("/v2/enqueue", page),
        "webhook": ("/hook", {"data": {"incident_id": "inc_1", "seq": 1}}),
    }
    servers = {kind: FailingServer(kind, None) for kind in bodies}  # type: ignore[arg-type]  # nothing fails here
    for kind, (path, body) in bodies.items():
        for number in range(1 + (copies if kind == copied else 0)):
            servers[kind].takes(Arrived(path, {}, json.dumps(body)), 100 + number * every_s)
    if pagerduty_key != "inc_1":
        servers["pagerduty"].takes(Arrived("/v2/enqueue", {}, json.dumps(page | {"dedup_key": pagerduty_key})), 100)
    return Board(**servers)


def killed() -> End:
    """At work, by a fault."""
    return End(-9, was_up=True, told=(Told("a fault", "SIGKILL", "at work"),), began_s=1, ended_s=2)


def by_order(*commands: Command) -> dict[tuple[str, int], Command]:
    return {(each.command_id, each.at_ms): each for each in commands}


def total_of(events: list[dict[str, Any]]) -> Total:
    tokens = sum(event["input_tokens"] + event["output_tokens"] for event in events)
    return Total(len(events), tokens, sum(round(event["cost_usd"] * 1e9) for event in events))
