"""Frames in, findings out, on one core: `decode_frame` and `ScoreCore.process` with all families on.

    python -m benchmarks.scoring_path --keys 10000 --repetitions 5

Event time runs at 50,000 events a second. Before the clock starts every key has used three 10-minute blocks, so that
none is new; the work at the end of a block (cohorts learn, the forest too) is measured apart, for it comes once in
600 seconds of event time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from benchmarks.workload import THIEVES, Workload, events
from detectors.core import ScoreCore
from schemas.config.detectors import DetectorsConfig
from schemas.fingerprint import Fingerprinter
from schemas.frame import decode_frame, encode_frame
from schemas.records import Finding
from sources.batch import BatchParser, RawRecord
from sources.pricing import PriceBook

ROWS_PER_FRAME: Final = 8192
HISTORY_BLOCKS: Final = 3
_BLOCK_S: Final = 600


def frames_of(workload: Workload, first_offset: int) -> list[bytes]:
    """The workload as the ingest stage would write it to one partition."""
    parser = BatchParser(
        fingerprinter=Fingerprinter(SecretStr("benchmark pepper, not secret")), prices=PriceBook(), max_future_s=None
    )
    values = [value for _, value in events(workload)]
    frames = []
    for start in range(0, len(values), ROWS_PER_FRAME):
        part = values[start : start + ROWS_PER_FRAME]
        records = [RawRecord(0, first_offset + start + at, value, None) for at, value in enumerate(part)]
        parsed = parser.parse(records, topic="usage.raw", now_ms=0)
        assert not parsed.dead
        frames.append(encode_frame(parsed.frame))
    return frames


def history(workload: Workload) -> list[list[bytes]]:
    """One list of frames for each block before: every key is used, at a rate that fills a part of the block."""
    start = workload.start - timedelta(seconds=_BLOCK_S * HISTORY_BLOCKS)
    blocks = []
    for number in range(HISTORY_BLOCKS):
        before = replace(
            workload, events=2 * workload.keys, events_per_s=max(workload.keys // 100, 1), seed=100 + number,
            stolen=False, start=start + timedelta(seconds=_BLOCK_S * number),
        )  # fmt: skip
        blocks.append(frames_of(before, number * 10_000_000))
    return blocks


def run(core: ScoreCore, frames: list[bytes]) -> tuple[float, float, list[Finding]]:
    """Seconds, seconds of processor time, findings."""
    findings: list[Finding] = []
    started, cpu_started = time.perf_counter(), time.process_time()
    for frame in frames:
        findings += core.process(decode_frame(frame))
    return time.perf_counter() - started, time.process_time() - cpu_started, findings


def measure(keys: int, n_events: int, repetitions: int) -> dict[str, Any]:
    """Events per second of each repetition, each on a fresh core with the same history."""
    workload = Workload(n_events, keys=keys)
    before, frames = history(workload), frames_of(workload, 10_000_000 * HISTORY_BLOCKS)
    samples, per_cpu_s, turns_s, told = list[float](), list[float](), list[float](), 0
    rss_before = _rss_bytes()
    for _ in range(repetitions):
        core = ScoreCore(DetectorsConfig(), partition=0)
        for block in before:
            run(core, block)
        at = time.perf_counter()
        core.advance(int(workload.start.timestamp()))
        turns_s.append(time.perf_counter() - at)
        if not samples:
            rss_bytes = _rss_bytes() - rss_before
        seconds, cpu_s, findings = run(core, frames)
        samples.append(n_events / seconds)
        per_cpu_s.append(n_events / cpu_s)
        told = sum(finding.certain for finding in findings)
        assert told >= THIEVES, f"{told} certain findings, {THIEVES} planted"
    return {
        "keys": keys, "events": n_events, "frames": len(frames), "samples": samples,
        "per_cpu_s_samples": per_cpu_s, "block_turn_s": turns_s,
        "row_bytes_per_key": core.table.row_bytes + core.book.row_bytes, "rss_bytes_per_key": rss_bytes / keys,
        "certain_findings": told,
    }  # fmt: skip


def in_own_process(keys: int, n_events: int, repetitions: int) -> dict[str, Any]:
    """`measure` in a fresh process, so that memory and caches are its own."""
    arguments = ["--keys", str(keys), "--events", str(n_events), "--repetitions", str(repetitions)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scoring_path", *arguments],
        check=True, stdout=subprocess.PIPE, text=True, timeout=300,
    )  # fmt: skip
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.keys, arguments.events, arguments.repetitions)))


if __name__ == "__main__":
    main()
