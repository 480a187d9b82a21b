"""Detection quality on real traffic with planted thefts. Writes the tables of `docs/real-input.md`.

    python -m benchmarks.real_input [--days 5] [--per-key 1200] [--victims 2] [--json OUT]

Traffic: every ServeGen client active in those days, thinned to about `--per-key` requests, and Azure's and
Mooncake's hours whole. Thefts: each shape at its published size and at a tenth, on `--victims` keys each, after two
days of warm-up. The data folder is `KEYFUSE_DATA`, else `../shared/data`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from pydantic import SecretStr

from containment.ladder import CUTS
from schemas.fingerprint import Fingerprinter
from service.config_folder import Folder
from service.replay import Replay, ReplayResult, read_events
from sources.batch import BatchParser
from sources.pricing import PriceBook
from sources.simulator.shapes import SHAPES
from sources.simulator.thefts import Theft
from tests.real_input.story import (
    DAY_MS,
    HOUR_MS,
    Client,
    Story,
    client_events,
    clients_of,
    in_order,
    one_hour_traces,
    requests_by_client,
    story,
)
from tests.traces import START_MS

WARM_UP_DAYS: Final = 2
THEFT_S: Final = {"published": 300.0, "a tenth": 900.0}
LENGTH_S: Final = {
    "low_and_slow": 172_800.0,
    "model_swap": 172_800.0,
    "context_stuffing": 172_800.0,
    "probe_then_abuse": 1500.0,
}
OWN_SIZE: Final = frozenset({"low_and_slow", "model_swap", "context_stuffing"})  # measured by the key's own use
PUBLISHED_USD_PER_MIN: Final = {"reseller": 31.9, "fan_out": 38.8, "dormant_wakes": 9.7}
USUAL_USD_PER_MIN: Final = 28.6
LEAST_EVENTS: Final = 300
CONTAINMENT_MS: Final = 5000  # from the order to the refused key, as `keyfuse replay` takes it
LATE_MS: Final = 600_000  # a finding this long after a theft's end still counts as its detection


@dataclass
class Tally:
    """What came out for one shape at one size."""

    thefts: int = 0
    found: int = 0
    cut: int = 0
    seconds_to_finding: list[float] = field(default_factory=list)
    seconds_to_cut: list[float] = field(default_factory=list)
    usd_open: float = 0.0
    usd_closed: float = 0.0
    families: Counter[str] = field(default_factory=Counter)


def main() -> None:
    """Build the story once, replay it twice, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--days", type=int, default=5)
    asked.add_argument("--per-key", type=int, default=1200)
    asked.add_argument("--victims", type=int, default=2)
    asked.add_argument("--json", type=Path)
    args = asked.parse_args()
    told, labels = build(days=args.days, per_key=args.per_key, victims=args.victims)
    values = [orjson.dumps(event) for event in told.events]
    table, dead = read_events(
        values, BatchParser(fingerprinter=Fingerprinter(SecretStr("")), prices=PriceBook(), max_future_s=None)
    )
    if dead:
        raise SystemExit(f"{len(dead)} events could not be taken: {dead[0].detail}")
    del values
    observed = Replay(Folder(), offered={}).run(table)
    closed = Replay(Folder(), offered={}, closed_loop=True).run(table)
    report(told, labels, table, observed, closed, days=args.days, json_path=args.json)


def build(*, days: int, per_key: int, victims: int) -> tuple[Story, list[str]]:
    """The story, and each theft's label."""
    span = (0, days)
    requests = {name: count for name, count in requests_by_client(span).items() if count >= LEAST_EVENTS}
    clients = clients_of(requests, days=span, per_key=per_key)
    planted, labels = thefts(clients, days=days, victims=victims)
    return story(in_order(client_events(clients, days=span) + one_hour_traces()), planted), labels


def thefts(clients: Sequence[Client], *, days: int, victims: int) -> tuple[list[Theft], list[str]]:
    """Each shape and size on keys of its own, at seeded times."""
    rng = np.random.default_rng(7)
    order = rng.permutation(len(clients)).tolist()
    free = [clients[at].key for at in order]
    planted: list[Theft] = []
    labels: list[str] = []
    for name in SHAPES:
        for size in ("published",) if name in OWN_SIZE else ("published", "a tenth"):
            for _ in range(victims):
                taken = tuple(free.pop() for _ in range(3 if SHAPES[name].least_keys > 1 else 1))
                length_s = LENGTH_S.get(name, THEFT_S[size])
                latest_ms = days * DAY_MS - int(length_s * 1000) - HOUR_MS
                start_ms = START_MS + int(
                    rng.integers(WARM_UP_DAYS * DAY_MS, max(latest_ms, WARM_UP_DAYS * DAY_MS + 1))
                )
                planted.append(Theft(name, taken, start_ms, length_s, usd_per_min=_size(name, size), seed=len(planted)))
                labels.append(name if name in OWN_SIZE else f"{name}, {size}")
    return planted, labels


def _size(name: str, size: str) -> float | None:
    if name in OWN_SIZE:
        return None
    usd = PUBLISHED_USD_PER_MIN.get(name, USUAL_USD_PER_MIN)
    return usd if size == "published" else usd / 10


def report(
    told: Story, labels: Sequence[str], table: pa.Table, observed: ReplayResult, closed: ReplayResult, *, days: int,
    json_path: Path | None,
) -> None:  # fmt: skip
    """Print the tables."""
    lines = [orjson.loads(line) for line in observed.lines]
    cuts = cuts_of(closed)
    tallies = tally(told, labels, lines, table, cuts)
    print(f"{len(told.keys)} keys, {table.num_rows:,} events, {days} days, {len(told.thefts)} thefts\n")
    print("| theft | found | cut | median s to finding | median s to cut | USD without | USD with | by |")
    print("|---|---|---|---|---|---|---|---|")
    for label, one in tallies.items():
        by = ", ".join(f"{family} {count}" for family, count in one.families.most_common())
        print(
            f"| {label} | {one.found} of {one.thefts} | {one.cut} of {one.thefts} | {_median(one.seconds_to_finding)} "
            f"| {_median(one.seconds_to_cut)} | {one.usd_open:,.2f} | {one.usd_closed:,.2f} | {by} |"
        )
    false = false_alarms(told, lines, cuts, days=days)
    print("\n| false alarms | |\n|---|---|")
    for name, value in false["figures"].items():
        print(f"| {name} | {value} |")
    print("\nMost frequent on untouched keys:")
    for example in false["examples"]:
        print(f"- {example}")
    missed = [(labels[at], [key.key_id for key in told.thefts[at].keys]) for at in tallies_missed(told, lines)]
    print(f"\nMissed: {missed}")
    if json_path is not None:
        json_path.write_text(json.dumps(false["figures"], indent=1))


def tally(
    told: Story, labels: Sequence[str], lines: Sequence[dict[str, Any]], table: pa.Table, cuts: dict[str, int]
) -> dict[str, Tally]:
    """By label, in the order of the thefts."""
    usd_open, usd_closed = _stolen_usd(told, table, {}), _stolen_usd(told, table, cuts)
    tallies: dict[str, Tally] = {}
    for place, theft in enumerate(told.thefts):
        one = tallies.setdefault(labels[place], Tally())
        one.thefts += 1
        one.usd_open += usd_open[place]
        one.usd_closed += usd_closed[place]
        during = list(_during(theft, lines))
        if during:
            one.found += 1
            after_s = (_ms(during[0]["at"]) - theft.start_ms) / 1000  # `at` may be the beginning of the theft's second
            one.seconds_to_finding.append(max(0.0, after_s))
            one.families.update({line["family"] for line in during})
        own = [cuts[key.key_id] for key in theft.keys if key.key_id in cuts]
        within = [at_ms for at_ms in own if theft.start_ms <= at_ms <= theft.taken.end_ms + LATE_MS]
        if within:
            one.cut += 1
            one.seconds_to_cut.append((min(within) - theft.start_ms) / 1000)
    return tallies


def cuts_of(closed: ReplayResult) -> dict[str, int]:
    """When each key was first refused, in the closed loop."""
    cuts: dict[str, int] = {}
    for line in map(orjson.loads, closed.lines):
        if line["type"] == "command" and line["automatic"] and line["step"] in CUTS:
            cuts.setdefault(line["key_id"], _ms(line["at"]) + CONTAINMENT_MS)
    return cuts


def tallies_missed(told: Story, lines: Sequence[dict[str, Any]]) -> list[int]:
    """Thefts nothing was said of."""
    return [place for place, theft in enumerate(told.thefts) if not any(True for _ in _during(theft, lines))]


def _during(theft: Theft, lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    keys = {key.key_id for key in theft.keys}
    for line in lines:
        if line["type"] != "finding" or line["key_id"] not in keys or line["severity"] == "info":
            continue
        if theft.start_ms - 1000 <= _ms(line["at"]) <= theft.taken.end_ms + LATE_MS:
            yield line


def false_alarms(told: Story, lines: Sequence[dict[str, Any]], cuts: dict[str, int], *, days: int) -> dict[str, Any]:
    """Incidents and cuts of keys that nobody stole."""
    clean = told.keys - told.touched
    hours = {key for key in clean if not key.startswith("servegen/")}
    weeks = (len(clean) - len(hours)) * days / 7 + len(hours) / 168
    opened: dict[str, tuple[str, str]] = {}
    reasons: dict[str, str] = {}
    for line in lines:
        if line["key_id"] in clean and line["type"] == "finding":
            reasons.setdefault(
                f"{line['family']} {line['severity']}", f"{line['key_id']} {line['at']}: {line['reason']}"
            )
        if line["key_id"] in clean and line["type"] == "incident":
            opened.setdefault(line["incident_id"], (line["key_id"], "+".join(line["families"])))
    last = {line["incident_id"]: line for line in lines if line["type"] == "incident" and line["key_id"] in clean}
    by_families = Counter("+".join(sorted(line["families"])) for line in last.values())
    loud = sum(1 for line in last.values() if line["severity"] != "info")
    would_cut = {line["key_id"] for line in lines if line["type"] == "command" and line["key_id"] in clean}
    cut = clean & set(cuts)
    figures = {
        "untouched keys": len(clean),
        "key-weeks": round(weeks, 1),
        "incidents": len(last),
        "incidents above info": loud,
        "incidents above info per key-week": round(loud / weeks, 3),
        "untouched keys that would be cut": len(would_cut | cut),
        "cuts per key-week": round(len(would_cut | cut) / weeks, 3),
        "of which keys of the one-hour traces": len(hours & (would_cut | cut)),
        "by families": ", ".join(f"{name} {count}" for name, count in by_families.most_common()),
    }
    loudest = Counter(key for key, _ in opened.values()).most_common(5)
    return {
        "figures": figures,
        "examples": [*reasons.values(), *(f"{key}: {count} incidents" for key, count in loudest)],
    }


def _stolen_usd(told: Story, table: pa.Table, cut_at_ms: dict[str, int]) -> list[float]:
    """USD of each theft; of a key that was cut, only what came before."""
    lost = [0.0] * len(told.thefts)
    columns = (table[name].to_pylist() for name in ("event_id", "key_id", "ts_ms", "cost_nano_usd"))
    for event_id, key_id, ts_ms, cost in zip(*columns, strict=True):
        place = told.stolen.get(event_id)
        if place is not None and ts_ms <= cut_at_ms.get(key_id, ts_ms):
            lost[place] += cost / 1e9
    return lost


def _ms(at: str) -> int:
    return int(np.datetime64(at.removesuffix("Z"), "ms").astype(np.int64))


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f}" if values else "-"


if __name__ == "__main__":
    main()
