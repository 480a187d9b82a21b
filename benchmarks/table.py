"""docs/benchmarks.md from benchmarks/results/*.json; prints the table.

python -m benchmarks.table
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from benchmarks import goals, table_load

ROOT: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results"
PAGE: Final = ROOT / "docs" / "benchmarks.md"
PIECES: Final = ("scoring_path", "end_to_end", "stages", "gate", *table_load.PARTS)

_HEAD: Final = """# Benchmarks

<!-- Made by `make bench` (or, from results that are there, by `python -m benchmarks.table`); a test keeps it true. -->

`make bench` measures most of this and writes `benchmarks/results/*.json` and this page; the growth
of cost, the soak and the burst take longer and are `make bench-long`.
Ratios are against a baseline of the same run: the same records, the same broker, by turns. Figures are medians;
the spread is the range of the samples over their median.

"""

_STORY: Final = """
A batch of some 36,864 events is read as one text: the ends of its lines prove that no record completes another, and
Arrow's reader turns it into columns beside the loop, without the interpreter's lock
([ADR 0029](adr/0029-records-are-read-at-once.md)). From there on nothing is done in Python for each event: each
distinct text is looked at once, whether it is a secret, an address or a model with a price; bounds are checked on whole
vectors; one selection of rows orders them by time and sends them to the partitions of their keys. Only where a batch
leaves a doubt do records go through the pydantic model, and there they cost what they cost everybody.
"""

_NOTES: Final = """
## What is measured

- **Scoring path**: one process, one core: `decode_frame` and `ScoreCore.process`, all families on, frames of 8,192
  rows, event time at 50,000 events a second. Every key has three 10-minute blocks of history. The work at the end of
  a block (what keys of one cohort learn from each other, the forest) comes once in 600 seconds and stands apart.
- **End to end**: one JSON event in each Kafka record, full before the start. One worker process with the roles
  `ingest` and `score`, as installed, checkpoints and commits included, from its first parsed batch (which does not
  count) to its last scored event. Ten keys breach a limit; the run fails unless their findings come out and every event
  is scored.
- **Naive agent**: a Faust agent, one JSON record, one table update and one River call for each event. Faust's own
  settings, table in memory with its changelog in Kafka, the cheapest of River's detectors.
- **Quix Streams**: the naive agent's job as its documentation writes one, in an environment of its own: JSON
  deserialiser, `group_by` the key (its state belongs to the key of a record, and these have none), the running sum of
  each key with `stateful=True`, at least once, RocksDB and changelog as they come, River's cheapest detector. Keyfuse,
  too, sends each row to the partition of its key through Kafka. The second figure gives Quix the same records with
  their keys, so that it has nothing to regroup. See `benchmarks/quix_job.py`.
- **Bare limit**: aiokafka's `getmany` and the pydantic model of each record, and nothing else.
- **Bare columns**: the prototype that set the mark of the ingest, with none of what makes its rows safe to score: no
  secret is looked for, nothing priced, no retry recognised, no row knows its record. See `benchmarks/bare_columns.py`.
- **Gate**: one process on one core, the generator on the other, both before everything else there (`SCHED_FIFO`, where
  allowed). Open loop: random arrivals, latency from when a call was due, so a stall costs every call that it kept
  waiting. Each key is under four policies with every kind of rule and four budgets, three with a hard stop; once as
  they are, once with each call settled a second later, which doubles the requests and is not in the figures. See
  [the gate](gate.md).
- **To the gates**: one worker (`decide`, `contain`) and the gates in one process, Tansu in another; a finding that is
  certain, until every gate refuses the key; and a verdict, until every gate refuses, and has reported it.

- **Latency**: workers apart, as in production: one `ingest,score`, one `decide`, one `contain`; and all in one process.
  Open loop: an event is due at a random time whatever became of those before, and its `ts` is that time. Four times a
  second another key makes one call that costs more than it may spend in a minute: a certain limit, which is said at
  once; what is learned speaks at the end of the second that it judges. Until the finding is written, and from there
  until the provider, a webhook, is told to stop the key. The load is a part of what is scored with the generator, the
  broker and the other workers on the same cores: as much is sent as the worker of the end-to-end run scored, and the
  findings show how far into it the scoring comes in each second. Of some 240 thefts the 99.9th percentile is the worst.
- **Recovery**: a worker takes in every key once, writes its shards and is killed with SIGKILL; then others start, one
  with the data folder that it left and one with none. All shards were written, so nothing is replayed; at work, frames
  of at most one rotation (`state.rotation_s`, 10 s) are, at the speed of the scoring path.
- **Growth**: idle keys in the scoring path alone (`ScoreCore`), without the end of a 10-minute block, which grows with
  the keys that are live; records and workers end to end, where two workers share the two cores with the broker.
- **Soak**: the worker and the generator of the latencies, without thefts.
- **Burst**: twenty times a worker's full pace for two minutes would be 130 GB, so the worker is held to a small part of
  a processor: of each 100 ms it may run for a few, first in line, and is stopped (SIGSTOP) for the rest. "Takes" is
  what it takes so held, of a backlog or of senders that wait for their answers. Its clocks and time-outs are not held:
  they run as much faster for it. The intake's room for bodies is made smaller in the same proportion. Kafka: before the
  burst the worker has seen what it would take in a quarter of an hour, for it remembers events for so long; then the
  burst, open loop, and it drains with the hold taken away. HTTP: a request is due whatever became of those before, and
  none is sent again. The store is ClickHouse's engine in a process of its own. The run fails unless every event is one
  row of the archive, there is no dead letter, every request is answered 202 or 429 and none cut off, every accepted
  event is archived once, resident memory stays within the bound, and requests are accepted again after the burst.

## What is not

- Replication, a network: broker and worker share one machine and its cores.
- Parsing of foreign formats, bad records, deliveries; decisions and containment but for their part of the latency.

## Noise

Broker, worker and whatever else runs share the cores, so wall-clock figures fall when the machine is busy; the load
stands above. End to end, and for latency, recovery, growth and soak, the broker and who is measured go before all that
runs besides (`SCHED_RR`, where allowed), each contender alike. Events for each second of the process's own processor
time suffer less and are given next to them. No test asserts a time: what must not creep back is counted in function
calls (`benchmarks/call_budgets.toml`); what Arrow and NumPy do inside of one call is not.
"""


def summary(measured: dict[str, Any]) -> dict[str, Any]:
    """Every figure that has samples under its full name, `end_to_end.ratio_naive`, and the machine of each piece."""
    flat: dict[str, Any] = {}
    for piece, result in measured.items():
        flat[f"{piece}.machine"] = result["machine"]
        flat |= {
            f"{piece}.{name}": found for name, found in result.items() if isinstance(found, dict) and "samples" in found
        }
    return flat


def results() -> dict[str, dict[str, Any]]:
    """Every piece that has been measured, by name."""
    return {
        name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for name in PIECES
        if (RESULTS / f"{name}.json").exists()
    }


def render(found: dict[str, dict[str, Any]]) -> str:
    """The page."""
    lines = ["| what | measured | spread | goal |", "|---|---|---|---|"]
    if "scoring_path" in found:
        lines += _scoring_rows(found["scoring_path"])
    if "end_to_end" in found:
        lines += _end_to_end_rows(found["end_to_end"])
    if "gate" in found:
        lines += _gate_rows(found["gate"])
    stages = _stages(found["stages"]) if "stages" in found else ""
    load = table_load.section(found)
    where = "\n\n## Where\n\n" + "\n".join(_where(found)) + "\n"
    return _HEAD + "\n".join(lines) + "\n" + goals.section(found) + where.removeprefix("\n") + stages + load + _NOTES


def _stages(piece: dict[str, Any]) -> str:
    """Where the time goes, the largest part first."""
    total_us, parts = piece["total_us_per_event"], dict(piece["us_per_event"])
    rest_us = parts.pop("rest")
    shown_last = [("the rest: sockets, the event loop, Faust, acknowledgements, commits", rest_us), ("all", total_us)]
    ordered = sorted(parts.items(), key=lambda part: -part[1]) + shown_last
    return "\n".join([
        "", "## Where the time goes", "",
        "Processor time of one event, end to end (`python -m benchmarks.profile_stages`).", "",
        "| stage | µs | share |", "|---|---|---|",
        *(f"| {stage} | {us:.2f} | {us / total_us:.0%} |" for stage, us in ordered), _STORY,
    ])  # fmt: skip


def _scoring_rows(piece: dict[str, Any]) -> list[str]:
    rows = [
        _row("scoring path, 10,000 live keys, events/s", piece["events_per_s"], "≥ 250,000"),
        _row("… for each second of processor time", piece["events_per_cpu_s"]),
        _row("… end of a 10-minute block, ms", piece["block_turn_ms"]),
    ]
    for keys, grown in piece["growth"].items():
        rows.append(_row(f"… {int(keys):,} keys, events/s", grown["events_per_s"]))
        rows.append(_row(f"… {int(keys):,} keys, for each second of processor time", grown["events_per_cpu_s"]))
    most = max(piece["growth"].items(), key=lambda item: int(item[0]))
    rows.append(f"| state of a key, bytes | {piece['state_bytes_per_key']:,} | | ≤ 4,096 |")
    rows.append(f"| … resident memory, at {int(most[0]):,} keys | {most[1]['rss_bytes_per_key']:,} | | |")
    return rows


def _end_to_end_rows(piece: dict[str, Any]) -> list[str]:
    packed, archive = piece["packed"], piece["with_archive"]
    return [
        _row("end to end, one event in each record, events/s", piece["events_per_s"]),
        _row("… for each second of processor time", piece["events_per_cpu_s"]),
        _row("… × the naive agent", piece["ratio_naive"], "≥ 25"),
        _row("… × the bare limit", piece["ratio_bare"], "≥ 1.2"),
        _row("… × Quix Streams", piece["ratio_quix"], "≥ 5"),
        _row("… × Quix Streams, given records with keys", piece["ratio_quix_keyed"]),
        _row("naive agent, events/s", piece["naive"]["events_per_s"]),
        _row(f"Quix Streams {piece['quix']['version']}, events/s", piece["quix"]["events_per_s"]),
        _row("… records with keys, events/s", piece["quix_keyed"]["events_per_s"]),
        _row(f"bare limit, `{piece['bare']['way']}`, events/s", piece["bare"]["events_per_s"]),
        _row(f"end to end, {packed['events_per_record']} events in each record, events/s", packed["events_per_s"]),
        _row("end to end, on the embedded broker (Tansu), events/s", piece["tansu"]["events_per_s"]),
        _row("ingest alone: records to frames, events/s", piece["ingest"]["events_per_s"]),
        _row("… for each second of processor time", piece["ingest"]["events_per_cpu_s"]),
        _row("… × the bare columns", piece["ratio_columns"], "≥ 1"),
        _row("bare columns, events/s", piece["columns"]["events_per_s"]),
        _row("… for each second of processor time", piece["columns"]["events_per_cpu_s"]),
        _row(
            f"ingest alone, {packed['events_per_record']} events in each record",
            piece["ingest"]["packed"]["events_per_s"],
        ),
        _row("end to end with the archive in the same process, events scored/s", archive["events_per_s"]),
        _row("… events archived/s", archive["archived_events_per_s"]),
    ]


def _gate_rows(piece: dict[str, Any]) -> list[str]:
    rows = [
        _row("gate, 5,000 authorize/s on one core, 100,000 keys: p50, µs", piece["p50_us"]),
        _row("… p99, µs", piece["p99_us"], "≤ 1,000"),
        _row("… p99.9, µs", piece["p999_us"]),
        _row("… each settled besides (10,000 requests/s): p50, µs", piece["settled"]["p50_us"]),
        _row("… p99, µs", piece["settled"]["p99_us"]),
        _row("… p99.9, µs", piece["settled"]["p999_us"]),
        f"| … processor time of a request, µs | {piece['cpu_us_per_request']:g} | | |",
        f"| … calls/s with p99 ≤ 1 ms, not settled | {piece['sustained_per_s']:,} | one run | |",
    ]
    for replicas, reach in piece["reach"].items():
        gates = f"{replicas} gate{'s' if replicas != '1' else ''}"
        for name, goal in _REACHED.items():
            at = reach[f"{name}_ms"]
            rows.append(
                f"| {gates}: {name.replace('_', ' ')}, ms, p50 / p99 | {at['p50']:g} / {at['p99']:g} | | {goal} |"
            )
    return rows


_REACHED: Final = {
    "finding_to_refused": "", "verdict_to_refused": "", "verdict_to_all_acknowledged": "p99 ≤ 1,000",
}  # fmt: skip


def _row(what: str, figure: dict[str, Any], goal: str = "") -> str:
    spread = f"{figure['spread']:.0%} of {len(figure['samples'])}" if len(figure["samples"]) > 1 else "one run"
    return f"| {what} | {shown(figure['median'])} | {spread} | {goal} |"


def shown(value: float) -> str:
    """Three digits that count.

    >>> shown(182345.0), shown(14.26), shown(0.8712)
    ('182,000', '14.3', '0.871')
    """
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.3g}"


def _where(found: dict[str, dict[str, Any]]) -> list[str]:
    """The machines. A `note` in a piece's results says what is to be known of that run, and goes with it."""
    lines = []
    for name, piece in found.items():
        machine = piece["machine"]
        packages = ", ".join(f"{package} {version}" for package, version in machine["packages"].items())
        lines.append(
            f"- `{name}`: {machine['cpu']}, {machine['cores']} cores, load {machine['load_1m']} at the end; "
            f"Python {machine['python']}, {packages}. {piece.get('note', '')}".rstrip()
        )
    if "end_to_end" in found:
        work, broker = found["end_to_end"]["workload"], found["end_to_end"]["broker"]
        lines.append(
            f"- {broker['name']} {broker['version']}, one node on the same machine, {work['partitions']} partitions; "
            f"{work['events']:,} events of {work['fields']} fields, {work['record_bytes']:.0f} bytes a record, "
            f"{work['keys']:,} keys.{' ' + broker['note'] if broker['note'] else ''}"
        )
    return lines


def main() -> None:
    page = render(results())
    PAGE.write_text(page, encoding="utf-8")
    print(page[page.index("| what") : page.index("\n## What")])


if __name__ == "__main__":
    main()
