"""How long a thief's calls go on: from a finding to the refusal at every gate, and until all gates have said so.

One process holds the worker (`decide`, `contain`) and the gates; the embedded broker is another.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from aiokafka import AIOKafkaProducer

from gate.server import Asked
from schemas.config import KeysConfig, ResponsesConfig, WiringConfig
from schemas.config.keys import KeyConfig
from schemas.config.wiring import GateConfig, KafkaConfig, ProviderConfig, StoreConfig
from schemas.records import Finding, stable_id
from schemas.verdict import GateVerdict
from service.config_tree import Folder
from service.gate_service import GateService
from service.install import Install, wall_ms
from service.worker import Worker
from streams.follow import follow
from streams.gates_heard import GatesHeard
from streams.kafka import create_topics
from streams.outbox import Outbox
from streams.topics import Topic
from tests.brokers import running_tansu

CALLS: Final = 60
_PATIENCE_S: Final = 60.0
_BROAD: Final = {
    "mode": "auto",
    "caps": {"per_10min_keys": 100_000, "per_10min_share": 1, "per_day_share": 1, "freeze_share": 1, "cooldown_s": 0},
    "ladder": {"first_step": "block"},
}


def key_of(number: int) -> str:
    return f"fp1:{number:032x}"


def install_of(bootstrap: str, directory: Path, *, replica: str) -> Install:
    kafka = KafkaConfig(bootstrap=bootstrap, partitions=4, session_timeout_s=2, fetch_wait_ms=20)
    keys = KeysConfig(keys=tuple(
        KeyConfig(key_id=key_of(n), provider="own", team="search", app="shop", env="prod") for n in range(2 * CALLS)
    ))  # fmt: skip
    wiring = WiringConfig(
        kafka=kafka, gate=GateConfig(port=0, replica=replica), data_dir=str(directory / replica),
        store=StoreConfig(dsn=f"chdb://{directory}/store"), providers={"own": ProviderConfig(kind="gate")},
    )  # fmt: skip
    folder = Folder(keys=keys, wiring=wiring, responses=ResponsesConfig.model_validate(_BROAD))
    return Install(folder, directory, environ={"KEYFUSE_PEPPER": "pepper of the benchmark"})


async def refused_everywhere(gates: list[GateService], key_id: str) -> None:
    """Asks each, over and over, what a gateway would ask."""
    asked = Asked({}, orjson.dumps({"key_id": key_id, "model": "gpt-4.1"}))
    left, until = list(gates), time.monotonic() + _PATIENCE_S
    while left and time.monotonic() < until:
        left = [g for g in left if b'"deny"' not in g.server.answer(b"POST", b"/v1/authorize", asked).body]
        await asyncio.sleep(0.001)  # a poll: the time of a refusal is what is measured
    if left:
        raise RuntimeError(f"{len(left)} gates did not refuse {key_id}")


def finding(key_id: str, worker: Worker) -> Finding:
    at_ms, facts = wall_ms(), worker.install.facts_of(key_id)
    assert facts is not None
    return Finding(
        finding_id=stable_id("fnd", key_id, at_ms), at_ms=at_ms, key_id=key_id, family="policy", detector="policy",
        severity="critical", score=9, certain=True, reason="a forbidden model", evidence={"observed": 1.0},
        usd_per_min=500, expected_usd_per_min=0.01, facts=facts,
    )  # fmt: skip


async def measure(bootstrap: str, directory: Path, replicas: int) -> dict[str, Any]:
    """Milliseconds, at p50 and p99 of `CALLS` each."""
    installs = [install_of(bootstrap, directory, replica=f"gate-{n}") for n in range(replicas)]
    await create_topics(bootstrap, installs[0].topics.specs())
    async with contextlib.AsyncExitStack() as stack:
        sender = await stack.enter_async_context(AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all"))
        outbox = Outbox(sender, installs[0].topics)
        worker = Worker(install_of(bootstrap, directory, replica="worker"), bootstrap, ["decide", "contain"])
        await worker.start()
        stack.push_async_callback(worker.stop)
        gates = [GateService(install, bootstrap) for install in installs]
        for gate in gates:
            await gate.start()
            stack.push_async_callback(gate.stop)
        heard = GatesHeard(now_ms=wall_ms, tick_s=time.monotonic)
        name = installs[0].topics.name(Topic.GATES)
        following = asyncio.create_task(
            follow(
                bootstrap, name, 1, take=heard.take, changed=heard.caught_up, stopping=lambda: False, fetch_wait_ms=20
            )
        )
        stack.callback(following.cancel)
        while len(heard.members()) < replicas:  # noqa: ASYNC110 - of reports in a topic there is no event
            await asyncio.sleep(0.05)
        cut = [await _finding_to_refusal(outbox, gates, worker, key_of(n)) for n in range(CALLS)]
        told = [await _verdict_to_all(outbox, gates, heard, key_of(CALLS + n)) for n in range(CALLS)]
    return {
        "finding_to_refused_ms": _percentiles(cut), "verdict_to_refused_ms": _percentiles([one for one, _ in told]),
        "verdict_to_all_acknowledged_ms": _percentiles([every for _, every in told]),
    }  # fmt: skip


async def _finding_to_refusal(outbox: Outbox, gates: list[GateService], worker: Worker, key_id: str) -> float:
    began = time.monotonic()
    await outbox.send(Topic.FINDINGS, [(key_id, finding(key_id, worker))])
    await refused_everywhere(gates, key_id)
    return time.monotonic() - began


async def _verdict_to_all(
    outbox: Outbox, gates: list[GateService], heard: GatesHeard, key_id: str
) -> tuple[float, float]:
    verdict = GateVerdict(key_id=key_id, state="deny", reason="stopped", incident_id="inc_1", at_ms=wall_ms())
    began = time.monotonic()
    refusing = asyncio.create_task(_timed(lambda: refused_everywhere(gates, key_id), began))
    written = await outbox.send(Topic.VERDICTS, [(key_id, verdict)])
    reached = await heard.hold(written)
    every = time.monotonic() - began
    if reached is None or reached.silent:
        raise RuntimeError(f"not all gates have it: {reached}")
    return await refusing, every


async def _timed(what: Callable[[], Any], began: float) -> float:
    await what()
    return time.monotonic() - began


def _percentiles(seconds: list[float]) -> dict[str, float]:
    at = np.percentile(seconds, [50, 99])
    return {"p50": round(1000 * at[0], 1), "p99": round(1000 * at[1], 1)}


def in_turn(replicas: int) -> dict[str, Any]:
    """On a broker of its own."""
    with tempfile.TemporaryDirectory() as folder, running_tansu(Path(folder)) as broker:
        return asyncio.run(measure(broker.bootstrap, Path(folder), replicas))
