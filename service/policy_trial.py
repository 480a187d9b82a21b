"""Two versions of policies judge the same events: what the one refuses and the other does not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import pyarrow as pa

from controls.policies import Policies
from controls.refusals import ASK
from controls.registry import Registry
from gate.ports import Amount
from gate.windows import Windows
from schemas.call import Call
from schemas.exception import PolicyException
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts
from service.config_tree import Folder

_COLUMNS: Final = (
    "ts_ms", "key_id", "model", "endpoint", "requests", "input_tokens", "output_tokens", "cost_nano_usd", "status",
    "ip", "country", "provider", "team", "app", "env",
)  # fmt: skip
EXAMPLES: Final = 3


class Said(NamedTuple):
    """What one version says of an event; both empty: it may pass."""

    rule: str = ""
    reason: str = ""


PASSES: Final = Said()


class Side:
    """One version: its policies, its keys, and what each key used of its ceilings so far."""

    def __init__(self, folder: Folder, exceptions: Iterable[PolicyException], issued: Iterable[KeyRecord] = ()) -> None:
        # An event that does not say where it came from was seen by nobody who could judge that.
        self._policies = Policies(folder.policies.model_copy(update={"unseen": "pass"}), exceptions)
        self._registry = Registry(folder.keys, issued)
        self._windows = Windows()

    def judge(self, call: Call, facts: KeyFacts, cost_nano_usd: int) -> Said:
        """Events come in the order of their times, nearly: a late one counts where the newest stands."""
        entry = self._registry.entry(call.key_id)
        facts = entry.facts() if entry else facts
        ruling = self._policies.judge(call, facts, entry)
        if ruling.rule:
            return Said(ruling.rule, ruling.reason.removesuffix(ASK))
        tokens = call.input_tokens + (call.max_output_tokens or 0) * call.requests
        amount = Amount(call.requests, tokens, cost_nano_usd)
        account = self._windows.account(
            call.key_id, self._policies.ceilings(call.key_id, facts, entry, call.at_ms)
        )  # fmt: skip
        over = account.over(amount, call.at_ms, call.at_ms)
        if over is not None:
            limit = f"{over.ceiling.limit:,.10g} {over.ceiling.unit} in {over.ceiling.window_s:g} s"
            return Said(over.ceiling.rule, f"the ceiling of {limit} is reached")
        account.add(amount)
        return PASSES


@dataclass
class Sum:
    """So much of the calls that were made."""

    events: int = 0
    requests: int = 0
    cost_nano_usd: int = 0

    def add(self, requests: int, cost_nano_usd: int) -> None:
        self.events += 1
        self.requests += requests
        self.cost_nano_usd += cost_nano_usd


@dataclass
class Group(Sum):
    """What is told of one rule, or of one key."""

    others: dict[str, int] = field(default_factory=dict)  # keys of a rule, rules of a key: events of each
    examples: list[dict[str, Any]] = field(default_factory=list)
    facts: KeyFacts | None = None  # of a key


@dataclass
class Change(Sum):
    """Calls of which the two versions say different things, in one direction."""

    by_rule: dict[str, Group] = field(default_factory=dict)
    by_key: dict[str, Group] = field(default_factory=dict)

    def note(self, call: Call, facts: KeyFacts, said: Said, cost_nano_usd: int) -> None:
        self.add(call.requests, cost_nano_usd)
        rule, key = self.by_rule.setdefault(said.rule, Group()), self.by_key.setdefault(call.key_id, Group())
        key.facts = key.facts or facts
        for group, other in ((rule, call.key_id), (key, said.rule)):
            group.add(call.requests, cost_nano_usd)
            group.others[other] = group.others.get(other, 0) + 1
        if len(rule.examples) < EXAMPLES and all(one["key_id"] != call.key_id for one in rule.examples):
            rule.examples.append({
                "at_ms": call.at_ms, "key_id": call.key_id, "model": call.model, "endpoint": call.endpoint,
                "ip": call.ip, "country": call.country, "input_tokens": call.input_tokens, "reason": said.reason,
            })  # fmt: skip


class Trial:
    """Feed it frames in the order of their times; what came of it stands in its fields."""

    def __init__(self, before: Side, after: Side) -> None:
        self._before, self._after = before, after
        self.seen, self.refused_already = Sum(), Sum()
        self.both = Sum()  # refused by both versions
        self.refused, self.allowed = Change(), Change()
        self.keys: dict[str, Sum] = {}
        self._facts: dict[tuple[str, ...], KeyFacts] = {}

    def take(self, frame: pa.RecordBatch) -> None:
        for row in _rows(frame):
            self._judge(row)

    def _judge(self, row: dict[str, Any]) -> None:
        cost, requests = row["cost_nano_usd"], row["requests"]
        if 400 <= row["status"] < 500:
            self.refused_already.add(requests, cost)  # whoever refused it: nothing was given
            return
        self.seen.add(requests, cost)
        self.keys.setdefault(row["key_id"], Sum()).add(requests, cost)
        call, facts = _call_of(row), self._facts_of(row)
        before, after = self._before.judge(call, facts, cost), self._after.judge(call, facts, cost)
        if before.rule and after.rule:
            self.both.add(requests, cost)
        elif after.rule:
            self.refused.note(call, facts, after, cost)
        elif before.rule:
            self.allowed.note(call, facts, before, cost)

    def _facts_of(self, row: dict[str, Any]) -> KeyFacts:
        named = (row["provider"], row["team"] or "unknown", row["app"] or "unknown", row["env"] or "unknown")
        known = self._facts.get(named)
        if known is None:
            known = self._facts[named] = KeyFacts(provider=named[0], team=named[1], app=named[2], env=named[3])
        return known


def _rows(frame: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    columns = [frame.column(name).to_pylist() for name in _COLUMNS]
    for values in zip(*columns, strict=True):
        yield dict(zip(_COLUMNS, values, strict=True))


def _call_of(row: dict[str, Any]) -> Call:
    """The call that led to the event. What it got is the least it asked for."""
    requests = max(row["requests"], 1)
    return Call(
        row["key_id"], row["ts_ms"], row["model"], row["endpoint"] or "", row["input_tokens"],
        -(-row["output_tokens"] // requests), requests, row["ip"] or "", row["country"] or "",
    )  # fmt: skip
