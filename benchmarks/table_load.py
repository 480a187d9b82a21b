"""The part of docs/benchmarks.md about load and time: latency, recovery, growth of cost, and a soak."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final


def section(found: Mapping[str, dict[str, Any]]) -> str:
    """Empty where nothing of it was measured."""
    parts = ["\n".join(part(found[name])) for name, part in PARTS.items() if name in found]
    return "\n## Under load and over time\n\n" + "\n\n".join(parts) + "\n" if parts else ""


def _latency(piece: dict[str, Any]) -> list[str]:
    lines = [
        f"Latency, of {piece['capacity_per_s']:,.0f} events/s that one worker scores at most "
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
    return [*lines, "", "Goals at half load: event → finding p99 ≤ 250 ms, finding → call p99 ≤ 100 ms."]


def _three(at: Mapping[str, float]) -> str:
    return f"{at['p50']:g} / {at['p99']:g} / {at['p999']:g}"


def _recovery(piece: dict[str, Any]) -> list[str]:
    lines = [
        "Recovery: from the start of a process until it scores again in every partition, in seconds "
        "(`python -m benchmarks.run --only recovery`). Goal: 100,000 keys restored in ≤ 10 s.", "",
        "| keys | state, MB | after a kill | … of that starting Python | … joining | … restoring | without its disk |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in piece["fills"]:
        kill, bare = one["after_kill"], one["without_disk"]
        lines.append(
            f"| {one['keys']:,} | {one['state_mb']:,} | {kill['ready_s']:g} | {kill['python_s']:g} "
            f"| {kill['joined_s']:g} | {kill['restored_s']:g} | {bare['ready_s']:g} |"
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


PARTS: Final[dict[str, Callable[[dict[str, Any]], list[str]]]] = {
    "latency": _latency, "recovery": _recovery, "growth": _growth, "soak": _soak,
}  # fmt: skip
