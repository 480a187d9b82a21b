"""Measures everything there is, writes benchmarks/results/*.json and docs/benchmarks.md, prints the table.

python -m benchmarks.run [--only scoring_path|end_to_end|stages|gate|latency|recovery|growth|soak|burst]

Without `--only` all but growth, soak and burst, which take longest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any, Final

from benchmarks import burst, end_to_end, gate, growth, profile_stages, recovery, scoring_path, soak, table
from benchmarks.broker import running_broker
from benchmarks.latency import run as latency
from benchmarks.machine import figure, first_in_line, machine

SCORED_EVENTS: Final = 500_000
GROWTH_KEYS: Final = (1_000, 100_000)
LATENCY_S: Final = 60.0
RECOVERED_KEYS: Final = (100_000, 1_000_000)
SOAK_MINUTES: Final = 30
SOAK_PER_S: Final = 5_000


def measure_scoring_path() -> dict[str, Any]:
    """10,000 live keys several times; fewer and more keys twice, for the growth."""
    say("scoring path, 10,000 keys")
    measured = scoring_path.in_own_process(10_000, SCORED_EVENTS, 5)
    growth = {}
    for keys in GROWTH_KEYS:
        say(f"scoring path, {keys:,} keys")
        growth[str(keys)] = _scoring_figures(scoring_path.in_own_process(keys, SCORED_EVENTS, 2))
    return {
        **_scoring_figures(measured),
        "growth": growth,
        "workload": {
            "events": measured["events"], "keys": measured["keys"], "rows_per_frame": scoring_path.ROWS_PER_FRAME,
            "event_time_events_per_s": 50_000, "certain_findings": measured["certain_findings"],
        },
        "machine": machine(),
    }  # fmt: skip


def _scoring_figures(measured: dict[str, Any]) -> dict[str, Any]:
    return {
        "events_per_s": figure(measured["samples"]),
        "events_per_cpu_s": figure(measured["per_cpu_s_samples"]),
        "block_turn_ms": figure([1000 * seconds for seconds in measured["block_turn_s"]]),
        "state_bytes_per_key": measured["row_bytes_per_key"],
        "rss_bytes_per_key": round(measured["rss_bytes_per_key"]),
    }


def measure_end_to_end() -> dict[str, Any]:
    if not end_to_end.QUIX.exists():
        raise SystemExit("Quix Streams is not installed: `make .venv/quix/ready`")
    with running_broker() as broker:
        say(f"end to end, on {broker.name} {broker.version} {broker.note}")
        measured = end_to_end.measure(broker, end_to_end.Sizes())
    say("end to end, on Tansu")
    return {**measured, "tansu": end_to_end.on_tansu(end_to_end.Sizes()), "machine": machine()}


def say(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


def measure_stages() -> dict[str, Any]:
    say("where the time goes")
    return profile_stages.measure()


def measure_gate() -> dict[str, Any]:
    say("gate, 100,000 keys, 5,000 calls/s")
    return gate.measure()


def measure_latency() -> dict[str, Any]:
    """At parts of what is scored with the generator beside, of as much as a worker scored without it."""
    offered_per_s = table.results()["end_to_end"]["events_per_s"]["median"]
    with running_broker() as broker, first_in_line():
        capacity_per_s = round(asyncio.run(latency.capacity(broker.bootstrap, offered_per_s, latency.CAPACITY_S)))
        say(f"latency, of {capacity_per_s:,} events/s")
        loads = asyncio.run(latency.measure(broker.bootstrap, capacity_per_s, LATENCY_S))
        say("latency, all in one process")
        together = latency.measure(
            broker.bootstrap, capacity_per_s, LATENCY_S, loads=latency.HALF, layout=latency.TOGETHER
        )
        return {
            "capacity_per_s": capacity_per_s, "loads": loads, "together": asyncio.run(together), "machine": machine()
        }  # fmt: skip


def measure_recovery() -> dict[str, Any]:
    with running_broker() as broker, first_in_line():
        fills = []
        for keys in RECOVERED_KEYS:
            say(f"recovery, {keys:,} keys")
            fills.append(asyncio.run(recovery.measure(broker, keys)))
    return {"fills": fills, "machine": machine()}


def measure_growth() -> dict[str, Any]:
    say("growth of cost")
    with first_in_line():
        return {name: part() for name, part in growth.PIECES.items()} | {"machine": machine()}


def measure_soak() -> dict[str, Any]:
    say(f"soak, {SOAK_MINUTES} minutes")
    with running_broker() as broker, first_in_line():
        return asyncio.run(soak.measure(broker.bootstrap, minutes=SOAK_MINUTES, per_s=SOAK_PER_S))


def measure_burst() -> dict[str, Any]:
    sizes = burst.Sizes()
    say(f"burst, {sizes.times:g} times what is taken for {sizes.seconds:g} s, twice")
    with running_broker() as broker:
        return asyncio.run(burst.measure(broker.bootstrap, sizes))


PIECES: Final = {
    "scoring_path": measure_scoring_path, "end_to_end": measure_end_to_end, "stages": measure_stages,
    "gate": measure_gate, "latency": measure_latency, "recovery": measure_recovery, "growth": measure_growth,
    "soak": measure_soak, "burst": measure_burst,
}  # fmt: skip
LONG: Final = ("growth", "soak", "burst")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=PIECES, action="append")
    chosen = parser.parse_args().only or [name for name in PIECES if name not in LONG]
    table.RESULTS.mkdir(exist_ok=True)
    for name in chosen:
        (table.RESULTS / f"{name}.json").write_text(json.dumps(PIECES[name](), indent=2) + "\n", encoding="utf-8")
    summary = json.dumps(table.summary(table.results()), indent=2)
    (table.RESULTS / "summary.json").write_text(summary + "\n", encoding="utf-8")
    table.main()


if __name__ == "__main__":
    main()
