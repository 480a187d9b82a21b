"""All metrics of Keyfuse: a closed list of names, so that mypy refuses a misspelt one, each with what a rise means.

`python -m streams.metrics` prints docs/metrics.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

from schemas.key_record import LifeState
from schemas.records import DeadReason, Doubt, Family, IncidentState, Severity, Via
from schemas.verdict import GateState

CounterName = Literal[
    "keyfuse_events_ingested_total",
    "keyfuse_dead_letters_total",
    "keyfuse_frames_total",
    "keyfuse_events_scored_total",
    "keyfuse_events_duplicate_total",
    "keyfuse_findings_total",
    "keyfuse_shadow_findings_total",
    "keyfuse_incidents_total",
    "keyfuse_commands_total",
    "keyfuse_orders_doubted_total",
    "keyfuse_deliveries_total",
    "keyfuse_pictures_total",
    "keyfuse_questions_total",
    "keyfuse_answers_total",
    "keyfuse_archive_rows_total",
    "keyfuse_checkpoint_bytes_total",
    "keyfuse_config_errors_total",
    "keyfuse_usd_observed_total",
    "keyfuse_intake_requests_total",
    "keyfuse_retries_total",
    "keyfuse_stage_stuck_total",
    "keyfuse_leak_reports_total",
    "keyfuse_key_asks_total",
    "keyfuse_key_requests_total",
    "keyfuse_events_counted_total",
    "keyfuse_spend_too_late_total",
    "keyfuse_gate_answers_total",
    "keyfuse_gate_settles_total",
    "keyfuse_gate_unpriced_total",
    "keyfuse_gate_unread_total",
    "keyfuse_lease_asks_total",
    "keyfuse_gate_failed_total",
]
GaugeName = Literal[
    "keyfuse_census_keys",
    "keyfuse_incidents_open",
    "keyfuse_archive_pending_rows",
    "keyfuse_held_events_missing",
    "keyfuse_intake_in_flight_bytes",
    "keyfuse_stage_lag_records",
    "keyfuse_stage_last_commit_age_seconds",
    "keyfuse_checkpoint_age_seconds",
    "keyfuse_keys_known",
    "keyfuse_keys_active",
    "keyfuse_frozen",
    "keyfuse_slack_connected",
    "keyfuse_keys_by_state",
    "keyfuse_questions_open",
    "keyfuse_spend_sums",
    "keyfuse_budget_used_ratio",
    "keyfuse_gate_reservations",
    "keyfuse_gate_news_age_seconds",
    "keyfuse_lease_gates",
    "keyfuse_gates_silent",
    "keyfuse_usage_behind_seconds",
]
HistogramName = Literal["keyfuse_command_seconds", "keyfuse_verdict_seconds", "keyfuse_event_to_finding_seconds"]
MetricName = CounterName | GaugeName | HistogramName

_FINDING_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_COMMAND_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


_HEAD: Final = """# Metrics

<!-- Made by `python -m streams.metrics`; a test keeps it true. -->

Every process serves them in Prometheus' text format at `/metrics`. Nothing here holds a key or a secret.

| metric | kind | unit | labels | what it is | what a rise means |
|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Def:
    """One metric: what it counts, in which unit, and what the person on call should think when it rises."""

    unit: str
    means: str
    rise: str
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)  # label -> its values; none: not a closed list
    buckets: tuple[float, ...] = ()  # of a histogram
    ages: bool = False  # a gauge that grows by itself from the moment it is set


COUNTERS: Final[dict[CounterName, Def]] = {
    "keyfuse_events_ingested_total": Def(
        "events", "Usage events taken into frames.", "More traffic. No rise at all while keys are in use: no producer."
    ),
    "keyfuse_dead_letters_total": Def(
        "records",
        "Records that could not be taken, by reason.",
        "A producer sends what Keyfuse cannot read: that use is not watched. See the dead-letter topic for where.",
        labels={"reason": tuple(DeadReason)},
    ),
    "keyfuse_frames_total": Def("frames", "Frames written.", "More traffic; faster than events means small batches."),
    "keyfuse_events_scored_total": Def(
        "events", "Usage events folded and scored.", "Should follow the ingested events; falling behind is lag."
    ),
    "keyfuse_events_duplicate_total": Def(
        "events",
        "Events seen before and not counted again: replayed by Keyfuse itself, or retried by their producer.",
        "replay: a restart or rebalance, harmless. retry: a producer has trouble delivering.",
        labels={"kind": ("replay", "retry")},
    ),
    "keyfuse_findings_total": Def(
        "findings",
        "Statements of detectors, by family and severity.",
        "Something unusual, or a detector too strict. Many keys at once: suspect a shared cause before a theft.",
        labels={"family": get_args(Family), "severity": get_args(Severity)},
    ),
    "keyfuse_shadow_findings_total": Def(
        "findings",
        "What the candidate in detectors.shadow.yaml said, by family. Nobody is told.",
        "Compare with keyfuse_findings_total: the candidate would tell more. `keyfuse shadow` shows what.",
        labels={"family": get_args(Family)},
    ),
    "keyfuse_incidents_total": Def(
        "transitions",
        "Transitions of incidents, by the state they came to.",
        "Look at the open ones. A rise of false_positive: thresholds too strict.",
        labels={"state": get_args(IncidentState)},
    ),
    "keyfuse_commands_total": Def(
        "commands",
        "Orders to contain or restore, by step and state.",
        "irrevocable: a provider could not be made to obey; a person must act now. refused: a safety rule held.",
        labels={"step": (), "state": ()},
    ),
    "keyfuse_orders_doubted_total": Def(
        "orders",
        "Records of keyfuse.commands that the contain stage did not believe, by rule. They had no effect.",
        "expired: contain was away for longer than commands.max_age_s. Anything else: somebody writes to that topic, "
        "or decide signs with a key that contain does not know.",
        labels={"rule": get_args(Doubt)},
    ),
    "keyfuse_deliveries_total": Def(
        "deliveries",
        "Messages to channels, by result: delivered, or why not.",
        "Anything but delivered: people may not be told. Check the channel's secret and status page.",
        labels={"channel": (), "result": ()},
    ),
    "keyfuse_pictures_total": Def(
        "pictures",
        "Pictures added to messages, by result: delivered, or why not.",
        "Anything but delivered: the words came without their picture. unauthorized: the token lacks files:write.",
        labels={"channel": (), "result": ()},
    ),
    "keyfuse_questions_total": Def(
        "questions",
        "Questions shown to people, by channel and result: delivered, or why not.",
        "Anything but delivered: people may not be asked. nowhere: no channel of routes.yaml can ask; "
        "`keyfuse questions` lists what waits.",
        labels={"channel": (), "result": ()},
    ),
    "keyfuse_archive_rows_total": Def("rows", "Rows written to the store.", "More traffic."),
    "keyfuse_checkpoint_bytes_total": Def(
        "bytes", "Size of the checkpoints written.", "More keys or more changed shards; costs broker disk."
    ),
    "keyfuse_config_errors_total": Def(
        "reloads", "Times the folder was found invalid.", "Somebody's change is not in force. Run `keyfuse check`."
    ),
    "keyfuse_answers_total": Def(
        "answers",
        "What came back from where people are told, by place and result.",
        "unsigned: a wrong secret, or somebody who tries. refused: roles in people.yaml, or an incident nobody knows. "
        "stale, repeat: late or repeated calls. unavailable: broker or store away; whoever sent it tries again. "
        "failed: Slack did not take what was to be shown.",
        labels={"via": get_args(Via), "result": ()},
    ),
    "keyfuse_usd_observed_total": Def("USD", "Spend seen.", "The bill of the providers, nearly; compare with theirs."),
    "keyfuse_intake_requests_total": Def(
        "requests",
        "HTTP intake, by status code.",
        "401: a wrong token. 413: bodies too large. 5xx: the broker does not take records, producers should retry.",
        labels={"code": ()},
    ),
    "keyfuse_leak_reports_total": Def(
        "reports",
        "Leak reports over HTTP, by how they came and whose key it is. Each known one starts or feeds an incident.",
        "registered, in_use: one of your keys is out. unsure: the store is away. not_taken: the broker or GitHub's "
        "keys are away, and GitHub may not send it again. refused: what is sent cannot be read. unauthorised: a wrong "
        "token or signature. unknown, very many: somebody guesses, or a scanner reports keys that are not yours.",
        labels={
            "via": ("api", "github"),
            "result": ("registered", "in_use", "unsure", "unknown", "refused", "not_taken", "unauthorised"),
        },
    ),
    "keyfuse_key_asks_total": Def(
        "messages",
        "What people asked of keys (new keys, rotations, exceptions, answers), by what became of it.",
        "unreadable: somebody writes to keyfuse.key-asks what no desk takes. nothing_new: repeats, harmless.",
        labels={"result": ("taken", "nothing_new", "unreadable")},
    ),
    "keyfuse_key_requests_total": Def(
        "requests",
        "Requests for keys over HTTP, by what they were answered.",
        "slow: no worker with the role identity answers. wrong, many: a script asks with a form that is out of date. "
        "pending: approvers have work.",
        labels={"result": ("active", "pending", "refused", "wrong", "again", "conflict", "slow", "not_taken")},
    ),
    "keyfuse_retries_total": Def(
        "tries", "Calls tried again, by where.", "What is called is slow or down; work waits.", labels={"where": ()}
    ),
    "keyfuse_stage_stuck_total": Def(
        "restarts",
        "Stages that lived and no longer committed, and were begun anew.",
        "Any: the log says why, `stage stuck`. Again and again: a record that cannot be handled; report it.",
        labels={"stage": ()},
    ),
    "keyfuse_events_counted_total": Def(
        "events",
        "Events that the budgets count, each once; after a restart those since the last checkpoint again.",
        "More traffic. Far fewer than `keyfuse_events_scored_total`: budgets lag behind.",
    ),
    "keyfuse_spend_too_late_total": Def(
        "requests",
        "Requests dated more than a month back: no budget speaks of that time.",
        "Somebody replays old logs, or a producer's clock is wrong.",
    ),
    "keyfuse_gate_answers_total": Def(
        "calls",
        "What a gate answered before calls, by state.",
        "deny, throttle: users are refused; the answer's rule says by what. degrade: budgets are tight.",
        labels={"state": get_args(GateState)},
    ),
    "keyfuse_gate_settles_total": Def(
        "calls",
        "What became of calls that a gate let through: settled, said twice, or expired, which nobody settled in time.",
        "expired: an adapter does not settle, so calls count at the most that they could cost. unknown, late: it "
        "settles too late, or at another replica.",
        labels={"result": ("settled", "already", "late", "unknown", "expired")},
    ),
    "keyfuse_gate_unpriced_total": Def(
        "calls",
        "Calls of a model without a price, or that do not say their model: what `gate.unpriced` says holds for them.",
        "Somebody uses a model that the price table does not know; under a limit in USD such calls may be refused.",
    ),
    "keyfuse_gate_unread_total": Def(
        "records",
        "Records that a gate could not read, by topic. It goes on with what it knew.",
        "Somebody else writes to that topic, or a worker is newer than the gate.",
        labels={"topic": ()},
    ),
    "keyfuse_lease_asks_total": Def(
        "asks",
        "Asks of gates for slices of budgets that were answered.",
        "More gates, or budgets near their end. No rise at all while gates run: nobody lends, see the role `budget`.",
    ),
    "keyfuse_gate_failed_total": Def(
        "requests",
        "Requests that a gate could not judge for a mistake of its own. They are refused.",
        "A call that the gate was not made for; its log says where it stumbled. Tell those who make Keyfuse.",
    ),
}

GAUGES: Final[dict[GaugeName, Def]] = {
    "keyfuse_census_keys": Def(
        "keys",
        "Keys whose use the census remembers, at most 100,000.",
        "More keys in use. At the most it forgets the ones it knew first: use that is odd over days is told later.",
    ),
    "keyfuse_incidents_open": Def("incidents", "Incidents not yet closed.", "People have work, or nobody closes them."),
    "keyfuse_archive_pending_rows": Def(
        "rows", "Rows read and not yet stored.", "The store is slow or down. Nothing is lost: Kafka keeps them."
    ),
    "keyfuse_held_events_missing": Def(
        "events",
        "Events under legal hold that were stored and are gone, as of the last look, at most 10 minutes ago.",
        "Somebody removed evidence: the audit names hold and day. Restore it from a back-up.",
    ),
    "keyfuse_intake_in_flight_bytes": Def(
        "bytes",
        "Bodies that the HTTP intake holds, from their first byte until the broker has them.",
        "Near `intake.max_in_flight_bytes`: senders are answered 429. The broker is slow, or there is a burst.",
    ),
    "keyfuse_stage_lag_records": Def(
        "records",
        "Records between a stage and the end of its topic.",
        "The stage is too slow: findings come late. Add workers, up to one for each partition.",
        labels={"stage": ()},
    ),
    "keyfuse_stage_last_commit_age_seconds": Def(
        "seconds",
        "Since the stage last finished and committed work.",
        "With traffic: the stage is stuck. Restarting it loses nothing.",
        labels={"stage": ()},
        ages=True,
    ),
    "keyfuse_checkpoint_age_seconds": Def(
        "seconds", "Since the last checkpoint.", "A restart would take longer: it replays from there.", ages=True
    ),
    "keyfuse_keys_known": Def("keys", "Keys with state.", "New keys; a sudden jump may be forged key ids."),
    "keyfuse_keys_active": Def("keys", "Keys used within the last hour of event time.", "More keys in use."),
    "keyfuse_frozen": Def("0 or 1", "Automatic steps are frozen.", "1: nothing is cut automatically until unfrozen."),
    "keyfuse_slack_connected": Def(
        "0 or 1",
        "Socket Mode is connected, by channel.",
        "0: buttons and /keyfuse come to nothing; messages still go out. `/healthz` says why under `waiting`.",
        labels={"channel": ()},
    ),
    "keyfuse_keys_by_state": Def(
        "keys",
        "Keys of keys.yaml and issued ones, by where they are in their life.",
        "pending: approvers do not answer. throttled: owners do not say that their keys are needed.",
        labels={"state": get_args(LifeState)},
    ),
    "keyfuse_questions_open": Def(
        "questions", "Questions to people that nobody has answered yet.", "People do not answer, or are not reached."
    ),
    "keyfuse_spend_sums": Def(
        "sums",
        "Sums of spend in memory: one for each key (and its team, app, env) used within five minutes.",
        "More keys in use; a sudden jump may be forged key ids, or events that come hours late.",
    ),
    "keyfuse_budget_used_ratio": Def(
        "share",
        "Spent of each budget within its period: of money or of tokens, whichever is nearer to its limit.",
        "1 and more: it is used up. `keyfuse budgets` says since when and how fast.",
        labels={"budget": ()},
    ),
    "keyfuse_gate_reservations": Def(
        "calls", "Calls let through and not yet settled.", "More calls under way, or an adapter that does not settle."
    ),
    "keyfuse_gate_news_age_seconds": Def(
        "seconds",
        "How old the news is that a gate goes by: since it last heard from the broker.",
        "The broker is away; after `gate.stale_after_s` what `gate.fail` says begins.",
        ages=True,
    ),
    "keyfuse_lease_gates": Def(
        "gates", "Gates that asked for slices of budgets lately.", "Gates were started; a fall: one is away or cut off."
    ),
    "keyfuse_gates_silent": Def(
        "gates",
        "Gates that fell silent without taking their leave: each is an incident.",
        "A gate died, or does not reach the broker: it fails open or closed by now.",
    ),
    "keyfuse_usage_behind_seconds": Def(
        "seconds",
        "How far back usage is surely in the budgets.",
        "Ingest or sums of spend lag; what dead gates held stays missing in budgets until they have caught up.",
    ),
}

HISTOGRAMS: Final[dict[HistogramName, Def]] = {
    "keyfuse_command_seconds": Def(
        "seconds",
        "From the order until the provider really refused (or took) the key.",
        "A provider answers slowly; loss goes on meanwhile.",
        buckets=_COMMAND_BUCKETS,
    ),
    "keyfuse_verdict_seconds": Def(
        "seconds",
        "From a verdict until every gate has reported that it holds to it, or was waited for in vain (5 s).",
        "A gate is slow, or gone without saying so: the incident names it. It may still let the key pass.",
        buckets=_COMMAND_BUCKETS,
    ),
    "keyfuse_event_to_finding_seconds": Def(
        "seconds",
        "From the beginning of the event's second to its finding. What is learned is judged when the second is over.",
        "Lag, or a slow broker.",
        buckets=_FINDING_BUCKETS,
    ),
}


class Metrics:
    """The metrics of one process or test, on a registry of their own. Label values are given by name."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._registry = CollectorRegistry()
        self._counters: dict[CounterName, Counter] = {
            name: Counter(name, d.means, tuple(d.labels), registry=self._registry) for name, d in COUNTERS.items()
        }
        self._gauges: dict[GaugeName, Gauge] = {
            name: Gauge(name, d.means, tuple(d.labels), registry=self._registry) for name, d in GAUGES.items()
        }
        self._histograms: dict[HistogramName, Histogram] = {
            name: Histogram(name, d.means, tuple(d.labels), registry=self._registry, buckets=d.buckets)
            for name, d in HISTOGRAMS.items()
        }
        self._start_closed_labels_at_zero()

    def inc(self, name: CounterName, value: float = 1, /, **labels: str) -> None:
        """Count. Raises ValueError when a label is missing or unknown, or the value is negative."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(value)

    def set(self, name: GaugeName, value: float, /, **labels: str) -> None:
        """What it is now. The value of an age is how old it is now; from then on it ages by itself."""
        gauge = self._gauges[name]
        child = gauge.labels(**labels) if labels else gauge
        if GAUGES[name].ages:
            born_s = self._now_s() - value
            child.set_function(lambda: self._now_s() - born_s)
        else:
            child.set(value)

    def observe(self, name: HistogramName, value: float, /, **labels: str) -> None:
        """One measured value, in the metric's unit."""
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def render(self) -> bytes:
        """Prometheus' text format, without the `_created` series that nobody asks for."""
        return generate_latest(_WithoutCreated(self._registry))

    def _start_closed_labels_at_zero(self) -> None:
        """A series that appears with its first event hides that event from rate()."""
        for name, d in COUNTERS.items():
            for values in product(*d.labels.values()) if d.labels else ():  # none where a label is open
                self._counters[name].labels(*values)


class _WithoutCreated(Collector):
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric


def render_docs() -> str:
    """docs/metrics.md."""
    rows = [_row(name, "counter", d) for name, d in COUNTERS.items()]
    rows += [_row(name, "gauge", d) for name, d in GAUGES.items()]
    rows += [_row(name, "histogram", d) for name, d in HISTOGRAMS.items()]
    return "\n".join([_HEAD, *rows]) + "\n"


def _row(name: str, kind: str, d: Def) -> str:
    labels = "; ".join(f"`{label}`: {', '.join(v)}" if v else f"`{label}`" for label, v in d.labels.items())
    return f"| `{name}` | {kind} | {d.unit} | {labels} | {d.means} | {d.rise} |"


if __name__ == "__main__":
    sys.stdout.write(render_docs())
