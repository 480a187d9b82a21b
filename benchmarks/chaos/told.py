"""What people were told, and whether each copy of it has a reason. Pure.

A message comes twice when its answer was lost, or when the worker that sent it could not write that it had: it ended,
stood still or lost its partition, or the broker was away. Each such moment explains one copy of one message at most,
and only if it lies between the one before it and the copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final, NamedTuple

from alerting.named import named_in
from benchmarks.chaos.services import FailingServer
from tests.integration.servers import Board

_LEEWAY_S: Final = 20.0
"""A message may arrive later than the moment that broke off its sending: it was on its way, or its worker was about to
notice (a session, a busy machine).
"""


class Message(NamedTuple):
    """`identity` is what two copies have in common. `at_s` is by the clock of the moments."""

    incident_id: str
    identity: str
    at_s: float


@dataclass(frozen=True)
class Reasons:
    """When something happened that makes messages come again."""

    lost_answers_s: Mapping[str, Sequence[float]]  # by channel
    moments_s: Sequence[float]  # of workers and broker: for all channels


def slack_messages(server: FailingServer) -> list[Message]:
    """Posts and replies; an edit that comes twice changes nothing."""
    found = []
    for at_s, arrived in zip(server.at_s, server.arrived, strict=True):
        if "/chat.postMessage" in arrived.path:
            said = arrived.json["metadata"]["event_payload"]
            identity = f"reply {said['seq']}" if "thread_ts" in arrived.json else "post"
            found.append(Message(said["incident_id"], identity, at_s))
    return found


def pagerduty_messages(server: FailingServer) -> list[Message]:
    return [
        Message(body["dedup_key"], arrived.body, at_s)
        for at_s, arrived, body in _events(server)
        if body["event_action"] == "trigger"
    ]


def webhook_messages(server: FailingServer) -> list[Message]:
    said = ((at_s, arrived.json["data"]) for at_s, arrived in zip(server.at_s, server.arrived, strict=True))
    return [Message(version["incident_id"], f"version {version['seq']}", at_s) for at_s, version in said]


def messages(board: Board) -> dict[str, list[Message]]:
    """By channel."""
    return {
        "slack": slack_messages(server_of(board, "slack")),
        "pagerduty": pagerduty_messages(server_of(board, "pagerduty")),
        "webhook": webhook_messages(server_of(board, "webhook")),
    }


def other_keys(board: Board, incidents: Iterable[str]) -> list[str]:
    """PagerDuty makes an incident of each dedup key: one for each of ours, and that of the incident it speaks of."""
    known, wrong = set(incidents), set[str]()
    for _, _, body in _events(server_of(board, "pagerduty")):
        key, named = body["dedup_key"], named_in(body.get("payload", {}).get("summary", ""))
        if key not in known:
            wrong.add(f"PagerDuty has an alert {key}, which is no incident")
        elif named and named != key:
            wrong.add(f"PagerDuty was told of {named} under the key {key}")
    return sorted(wrong)


def copies(told: Sequence[Message]) -> int:
    """How many messages came that had come before."""
    return len(told) - len({(message.incident_id, message.identity) for message in told})


def unexplained(told: Sequence[Message], moments_s: Iterable[float]) -> dict[str, int]:
    """Copies without a moment of their own, by incident."""
    in_order, found = sorted(moments_s), dict[str, int]()
    for (incident_id, _), same in groupby(sorted(told), key=lambda message: message[:2]):
        free = iter(in_order)
        moment = next(free, None)
        for before, copy in pairwise(same):
            while moment is not None and moment < before.at_s - _LEEWAY_S:
                moment = next(free, None)
            if moment is not None and moment <= copy.at_s:
                moment = next(free, None)
            else:
                found[incident_id] = found.get(incident_id, 0) + 1
    return found


def server_of(board: Board, channel: str) -> FailingServer:
    server = getattr(board, channel)
    assert isinstance(server, FailingServer)
    return server


def _events(server: FailingServer) -> list[tuple[float, Any, Any]]:
    return [(at_s, arrived, arrived.json) for at_s, arrived in zip(server.at_s, server.arrived, strict=True)]
