"""How long from the request for a key to the key: over HTTP, at a worker, and at a follower like a gate.

`python -m benchmarks.issuing` prints it; embedded broker, one worker with the roles identity and http.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx

from schemas.config import WiringConfig
from schemas.config.keys import IssueRule, IssuingConfig, KeysConfig
from schemas.config.wiring import IntakeConfig, KafkaConfig, StoreConfig
from schemas.key_record import KeyRecord
from service.config_tree import Folder
from service.install import Install
from service.tansu import Tansu
from service.worker import Worker
from storage.testing import fresh_dsn
from streams.keys import follow_keys
from streams.topics import Topic

REQUESTS: Final = 50
_WISH: Final = {"by": "ann", "team": "search", "app": "ranker", "env": "dev", "purpose": "measure how long it takes"}


async def measured(directory: Path) -> tuple[list[float], list[float]]:
    """Seconds to the answer, and seconds until a follower has the key, for each request."""
    async with Tansu(log_path=directory / "tansu.log") as tansu:
        kafka = KafkaConfig(bootstrap=tansu.bootstrap, partitions=1, session_timeout_s=2, fetch_wait_ms=20)
        wiring = WiringConfig(
            data_dir=str(directory), kafka=kafka, store=StoreConfig(dsn=fresh_dsn()), intake=IntakeConfig(port=0)
        )
        rule = IssueRule(instant=True, expires_days=1, quota_usd_per_day=5)
        folder = Folder(wiring=wiring, keys=KeysConfig(issuing=IssuingConfig(envs={"dev": rule})))
        install = Install(folder, directory, {"KEYFUSE_PEPPER": "pepper"})
        worker, seen, over = Worker(install, tansu.bootstrap, ("identity", "http")), dict[str, float](), asyncio.Event()
        await worker.start()

        def take(record: KeyRecord) -> bool:
            seen.setdefault(record.request_id, time.perf_counter())
            return True

        topics = install.topics
        name, count = topics.name(Topic.KEYS), topics.count(Topic.KEYS)
        following = asyncio.create_task(follow_keys(tansu.bootstrap, name, count, take=take, stopping=over.is_set))
        try:
            return await _ask(worker, seen)
        finally:
            over.set()
            await following
            await worker.stop()


async def _ask(worker: Worker, seen: dict[str, float]) -> tuple[list[float], list[float]]:
    answered, followed = [], []
    headers = {"authorization": f"Bearer {worker.install.query_token().get_secret_value()}"}
    async with httpx.AsyncClient(base_url=worker.url, headers=headers, timeout=30) as http:
        for number in range(REQUESTS):
            began_s = time.perf_counter()
            answer = await http.post("/v1/keys", json=_WISH, headers={"idempotency-key": f"r{number}"})
            answer.raise_for_status()
            answered.append(time.perf_counter() - began_s)
            while f"r{number}" not in seen:  # noqa: ASYNC110 - a millisecond is nothing here
                await asyncio.sleep(0.001)
            followed.append(seen[f"r{number}"] - began_s)
    return answered, followed


def words(what: str, seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p95 = ordered[round(0.95 * (len(ordered) - 1))]
    return f"{what:<24} median {statistics.median(ordered):.3f} s   p95 {p95:.3f} s   worst {ordered[-1]:.3f} s"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        answered, followed = asyncio.run(measured(Path(directory)))
    told = [words("answered with the key", answered), words("known at a follower", followed)]
    sys.stdout.write("\n".join([f"{REQUESTS} requests, one after another", *told]) + "\n")


if __name__ == "__main__":
    main()
