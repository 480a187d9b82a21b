"""Raw JSON records in Kafka → findings, against the naive agent and the bare limit, by turns on the same records."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.broker import PARTITIONS, RunningBroker
from benchmarks.machine import figure, first_in_line
from benchmarks.preload import Preloaded, preload
from benchmarks.workload import FIELDS, THIEVES, Workload
from tests.brokers import ROOT, running_tansu

PER_RECORD: Final = 100
QUIX: Final = ROOT / ".venv" / "quix" / "bin" / "python"  # made by `make bench`: its pins are not ours
_TIMEOUT_S: Final = 240


@dataclass(frozen=True)
class Sizes:
    """How much is measured; who is slow gets a part of the same records."""

    events: int = 400_000
    naive_events: int = 20_000
    quix_events: int = 50_000
    repetitions: int = 3


@dataclass
class _Samples:
    events_per_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)

    def add(self, measured: dict[str, Any]) -> None:
        self.events_per_s.append(measured["events"] / measured["seconds"])
        self.per_cpu_s.append(measured["events"] / measured["cpu_s"])

    def figures(self) -> dict[str, Any]:
        return {"events_per_s": figure(self.events_per_s), "events_per_cpu_s": figure(self.per_cpu_s)}


def measure(broker: RunningBroker, sizes: Sizes) -> dict[str, Any]:
    """Each repetition takes the bare limit, Keyfuse, the naive agent and Quix Streams one after the other, so that a
    noisy minute hits all of them; ratios are of figures of one repetition.
    """
    singles = asyncio.run(full_topic(broker, "bench.single", sizes.events, per_record=1))
    packs = asyncio.run(full_topic(broker, "bench.packed", sizes.events, per_record=PER_RECORD))
    keyed = asyncio.run(full_topic(broker, "bench.keyed", sizes.events, per_record=1, keyed=True))
    bare, keyfuse, naive, quix, quix_keyed, ingest, mark, way = *(_Samples() for _ in range(7)), ""
    for number in range(sizes.repetitions):
        measured = _child(broker, "bare_limit", singles, sizes.events, ["--group", f"bare-{number}"])
        bare.add(measured)
        way = measured["way"]
        keyfuse.add(worker(broker, singles, f"single-{number}."))
        ingest.add(_ingest(broker, singles, f"ingest-{number}."))
        mark.add(_child(broker, "bare_columns", singles, sizes.events, ["--group", f"columns-{number}"]))
        naive.add(_child(broker, "naive_agent", singles, sizes.naive_events, ["--group", f"naive-{number}"]))
        quix.add(_child(broker, "quix_job", singles, sizes.quix_events, ["--group", f"quix-{number}"]))
        given = ["--group", f"quix-keyed-{number}", "--keyed"]
        quix_keyed.add(_child(broker, "quix_job", keyed, sizes.quix_events, given))
    packed, packed_ingest = _Samples(), _Samples()
    packed.add(worker(broker, packs, "packed."))
    packed_ingest.add(_ingest(broker, packs, "packed-ingest."))
    archiving = _Samples()
    archived = worker(broker, singles, "archive.", roles="ingest,score,archive")
    archiving.add(archived)
    return {
        **keyfuse.figures(),
        "ratio_naive": figure(_ratios(keyfuse, naive)),
        "ratio_bare": figure(_ratios(keyfuse, bare)),
        "ratio_quix": figure(_ratios(keyfuse, quix)),
        "ratio_quix_keyed": figure(_ratios(keyfuse, quix_keyed)),
        "ratio_columns": figure(_ratios(ingest, mark)),
        "columns": mark.figures(),
        "ingest": {**ingest.figures(), "packed": packed_ingest.figures()},
        "naive": {**naive.figures(), "events": sizes.naive_events, "model": "river GaussianScorer per key"},
        "bare": {**bare.figures(), "way": way},
        "quix": {**quix.figures(), "events": sizes.quix_events, "version": _quix_version()},
        "quix_keyed": {**quix_keyed.figures(), "events": sizes.quix_events},
        "packed": {**packed.figures(), "events_per_record": PER_RECORD},
        "with_archive": {
            **archiving.figures(),
            "archived_events_per_s": figure([archived["events"] / archived["archived_s"]]),
        },
        "workload": {
            "events": sizes.events, "record_bytes": round(singles.record_bytes, 1), "fields": FIELDS,
            "keys": Workload(0).keys, "partitions": PARTITIONS, "planted_breaches": THIEVES,
            "event_time_events_per_s": Workload(0).events_per_s,
        },
        "broker": {"name": broker.name, "version": broker.version, "note": broker.note},
    }  # fmt: skip


def _ratios(ours: _Samples, theirs: _Samples) -> list[float]:
    return [our / their for our, their in zip(ours.events_per_s, theirs.events_per_s, strict=True)]


async def full_topic(
    broker: RunningBroker, topic: str, n_events: int, *, per_record: int, keyed: bool = False
) -> Preloaded:
    return await preload(
        broker.bootstrap, topic, Workload(n_events), partitions=PARTITIONS, per_record=per_record, keyed=keyed
    )  # fmt: skip


def _quix_version() -> str:
    """As locked: the environment is made from that file alone."""
    locked = (ROOT / "requirements-quix.lock").read_text(encoding="utf-8")
    return next(line.split()[0].partition("==")[2] for line in locked.splitlines() if line.startswith("quixstreams=="))


def worker(
    broker: RunningBroker, full: Preloaded, prefix: str, roles: str = "ingest,score", more: Sequence[str] = ()
) -> dict[str, Any]:
    """One run of a Keyfuse worker; AssertionError when it did not do its whole work."""
    measured = _child(broker, "worker_process", full, full.events, ["--prefix", prefix, "--roles", roles, *more])
    assert measured["scored"] == full.events, measured
    assert measured["dead"] == 0, measured
    assert measured["breaches_told"] >= THIEVES, measured
    return measured


def _ingest(broker: RunningBroker, full: Preloaded, prefix: str) -> dict[str, Any]:
    """The ingest stage alone: raw records in, frames out."""
    measured = _child(broker, "worker_process", full, full.events, ["--prefix", prefix, "--roles", "ingest"])
    assert measured["dead"] == 0, measured
    assert measured["frames"], measured
    return measured


def on_tansu(sizes: Sizes) -> dict[str, Any]:
    """One run on the embedded broker, which installs of one command have."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        with first_in_line():
            tansu = running.enter_context(running_tansu(Path(directory)))
        broker = RunningBroker(tansu.bootstrap, "Tansu", "embedded", "")
        singles = asyncio.run(full_topic(broker, "bench.single", sizes.events, per_record=1))
        keyfuse = _Samples()
        keyfuse.add(worker(broker, singles, "single."))
        return keyfuse.figures()


def _child(broker: RunningBroker, module: str, full: Preloaded, n_events: int, more: list[str]) -> dict[str, Any]:
    """Run one contender in its own process; its last line is what it measured."""
    given = ["--bootstrap", broker.bootstrap, "--raw", full.topic, "--events", str(n_events), *more]
    python = str(QUIX) if module == "quix_job" else sys.executable
    with first_in_line():
        done = subprocess.run(
            [python, "-m", f"benchmarks.{module}", *given],
            check=False, capture_output=True, text=True, timeout=_TIMEOUT_S,
        )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"benchmarks.{module} failed:\n{done.stderr[-4000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured
