"""The part of docs/benchmarks.md about load and time: latency, recovery, growth of cost, a soak, and a burst."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final


def section(found: Mapping[str, dict[str, Any]]) -> str:
    """Empty where nothing of it was measured."""
    parts = ["\n".join(part(found[name])) for name, part in PARTS.items() if name in found]
    return "\n## Under load and over time\n\n" + "\n\n".join(parts) + "\n" if parts else ""


def _latency(piece: dict[str, Any]) -> list[str]:
    lines = [
        f"Latency, of {piece['capacity_per_s']:,.0f} events/s that are scored with the generator beside "
        "(`python -m benchmarks.run --only latency`). p50 / p99 / p99.9, ms:", "",
        "| load | events/s | event → finding | finding → call at the provider | thefts | generator late, p99 |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    apart, together = (
        [(one, "") for one in piece["loads"]],
        [(one, ", all in one process") for one in piece["together"]],
    )
    for one, where in [*apart, *together]:
        told, called = one["event_to_finding_ms"], one["finding_to_call_ms"]
        lines.append(
            f"| {one['load']:.0%}{where} | {one['per_s']:,.0f} | {_three(told)} | {_three(called)} | {one['thefts']} "
            f"| {one['late_ms']['p99']:g} ms |"
        )
    goals = "Goals at half load: event → finding p99 ≤ 250 ms, finding → call p99 ≤ 100 ms."
    return [*lines, "", goals]


def _three(at: Mapping[str, float]) -> str:
    return f"{at['p50']:g} / {at['p99']:g} / {at['p999']:g}"


def _recovery(piece: dict[str, Any]) -> list[str]:
    lines = [
        "Recovery: from the start of a process until it scores again in every partition, in seconds "
        "(`python -m benchmarks.run --only recovery`). Goals: 100,000 keys restored in ≤ 10 s, 1,000,000 in "
        "≤ 6,000 MB.", "",
        "| keys | state, MB | lost | ready | … of that starting Python | … joining | … restoring | resident, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in piece["fills"]:
        for lost, start in (("process", one["after_kill"]), ("process and disk", one["without_disk"])):
            lines.append(
                f"| {one['keys']:,} | {one['state_mb']:,} | {lost} | {start['ready_s']:g} | {start['python_s']:g} "
                f"| {start['joined_s']:g} | {start['restored_s']:g} | {start['rss_mb']:,} |"
            )
    return lines


def _growth(piece: dict[str, Any]) -> list[str]:
    lines = ["Growth of cost (`python -m benchmarks.run --only growth`), events for each second of processor time:", ""]
    lines += ["| keys known, 1,000 of them in use | scoring path | resident bytes a key |", "|---|---|---|"]
    for known, one in piece["idle_keys"].items():
        rate = one["events_per_cpu_s"]["median"]
        lines.append(f"| {int(known):,} | {rate:,.0f} | {one['rss_bytes_per_key']:,} |")
    lines += ["", "| events in a record, one worker | events/s | for each second of processor time |", "|---|---|---|"]
    lines += [f"| {int(count):,} | {_rates(one)} |" for count, one in piece["events_per_record"].items()]
    lines += ["", "| workers | events/s together | for each second of processor time |", "|---|---|---|"]
    return lines + [f"| {count} | {_rates(one)} |" for count, one in piece["workers"].items()]


def _rates(one: Mapping[str, Any]) -> str:
    return f"{one['events_per_s']['median']:,.0f} | {one['events_per_cpu_s']['median']:,.0f}"


def _soak(piece: dict[str, Any]) -> list[str]:
    return [
        f"Soak (`python -m benchmarks.run --only soak`): {piece['sent']:,} events in {piece['minutes']:g} minutes, "
        f"resident memory {piece['rss_mb']:g} MB, slope {piece['slope_mb_per_hour']:g} MB an hour after the first "
        f"third, the last third {piece['last_third_over_second_mb']:+g} MB over the second."
    ]


def _burst(piece: dict[str, Any]) -> list[str]:
    kafka, http, sizes = piece["kafka"], piece["intake"], piece["sizes"]
    answers, per_request = http["statuses"], http["events_in_request"]
    lines = [
        f"Burst (`python -m benchmarks.run --only burst`): {sizes['times']:g} times what a worker takes that is held "
        f"to a small part of a processor, for {sizes['seconds']:g} seconds. Each process may grow by at most "
        f"{piece['rss_bound_mb']:g} MB.", "",
        "| | into `usage.raw` | `POST /v1/events` |", "|---|---|---|",
    ]  # fmt: skip
    rows = [
        ("took of a processor while held", f"{kafka['of_a_core']:.1%}", f"{http['of_a_core']:.1%}"),
        ("takes so held, events/s", f"{kafka['takes_per_s']:,}", f"{http['takes_per_s']:,}"),
        ("offered, events/s", f"{kafka['offered_per_s']:,}", f"{http['offered_per_s']:,}"),
        ("offered", f"{kafka['sent']:,} events", f"{http['requests']:,} requests of {per_request} events"),
        ("… archived meanwhile", f"{kafka['archived_meanwhile']:,} events", ""),
        ("answered 202 / 429 / otherwise or cut off", "", _answered(answers, http["requests"])),
        ("archived, all of the run", f"{kafka['rows']:,} rows of {kafka['sent_in_all']:,} events",
         f"{http['rows'] - http['of_others']:,} rows of {http['accepted']:,} accepted events"),
        ("dead letters", f"{kafka['dead_letters']}", ""),
        ("resident memory before → at most, MB", _grew(kafka), _grew(http)),
        ("caught up, without the hold, after", f"{kafka['drained_s']:g} s", ""),
    ]  # fmt: skip
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def _grew(half: Mapping[str, Any]) -> str:
    return f"{half['rss_before_mb']:,} → {half['rss_most_mb']:,}"


def _answered(statuses: Mapping[str, int], requests: int) -> str:
    taken, full = statuses.get("202", 0), statuses.get("429", 0)
    return f"{taken:,} / {full:,} / {requests - taken - full:,}"


PARTS: Final[dict[str, Callable[[dict[str, Any]], list[str]]]] = {
    "latency": _latency, "recovery": _recovery, "growth": _growth, "soak": _soak, "burst": _burst,
}  # fmt: skip
