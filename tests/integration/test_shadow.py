"""Hot reload in a running worker: new detectors act at once, a candidate is heard and told apart, nobody is told."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from aiokafka import AIOKafkaProducer
from rich.console import Console

from schemas.records import TRIAL, Finding, Incident
from service import shadow_command
from service.demo_watch import Watch
from service.history import Wanted
from service.install import Install
from service.worker import Worker
from storage.history import acts, findings
from storage.testing import fresh_dsn
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.uses import T0_MS, Event, ndjson, uses
from tests.integration.world import ENVIRON, kafka_config, until

QUIET = {"limits": {"usd_per_min": None, "usd_per_hour": None, "requests_per_s": None}}
STRICT = {"limits": {"usd_per_min": 0.005, "usd_per_hour": None, "requests_per_s": None}}


class Running:
    """A worker that follows a folder of YAML, and what came out of it."""

    def __init__(self, folder: Path, worker: Worker, sender: AIOKafkaProducer, watch: Watch) -> None:
        self.folder, self.worker, self._sender, self._watch = folder, worker, sender, watch
        self._minute = 0
        self.events: list[Event] = []
        """All that was used."""

    def write(self, name: str, content: Mapping[str, object]) -> None:
        (self.folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")

    async def use(self, key_id: str = "key_1") -> None:
        """A minute of use for 0.02 USD, and one event after it that closes it."""
        start_ms, self._minute = T0_MS + self._minute * 60_000, self._minute + 1
        topic = self.worker.install.topics.name(Topic.RAW)
        events = uses(key_id, start_ms, count=20, every_ms=100) + uses(key_id, start_ms + 50_000, count=1)
        self.events += events
        await self._sender.send_and_wait(topic, ndjson(events))
        await until(lambda: self.clock_s() >= start_ms // 1000 + 50, "scored")

    def clock_s(self) -> int:
        return max((core.clock_s for core in self.worker.score.cores()), default=0)

    def told(self, kind: type[Finding | Incident]) -> list[Finding | Incident]:
        return [record for record in self._watch.told if isinstance(record, kind)]

    async def stored(self, table: str) -> list[Finding]:
        store = self.worker.store
        assert store is not None
        return findings(store(), table, 0, 1 << 53)


@asynccontextmanager
async def running(broker: Broker, prefix: str, directory: Path) -> AsyncIterator[Running]:
    folder = directory / "conf"
    folder.mkdir()
    kafka = kafka_config(broker, prefix).model_dump(mode="json")
    wiring = {"data_dir": str(directory), "kafka": kafka, "store": {"dsn": fresh_dsn(), "retention_days": 36_500},
              "state": {"shards": 4, "rotation_s": 1, "idle_s": 3600}}  # fmt: skip
    (folder / "keyfuse.yaml").write_text(yaml.safe_dump(wiring), encoding="utf-8")
    (folder / "detectors.yaml").write_text(yaml.safe_dump(QUIET), encoding="utf-8")
    install = Install.open(folder)
    install.environ = ENVIRON
    install.order_signer(make=True)  # as `keyfuse init` does: decide signs what a contain worker elsewhere carries out
    worker = Worker(install, broker.bootstrap, ("ingest", "score", "decide", "archive"))
    sender, watch = AIOKafkaProducer(bootstrap_servers=broker.bootstrap), Watch(broker.bootstrap, install.topics)
    try:
        await worker.start()
        await watch.start()
        await sender.start()
        yield Running(folder, worker, sender, watch)
    finally:
        await sender.stop()
        await watch.stop()
        await worker.stop()


def report(folder: Path) -> str:
    said = io.StringIO()
    shadow_command.main(Wanted(), folder, output=None, out=Console(file=said, width=200))
    return said.getvalue()


async def test_a_candidate_is_heard_beside_the_live_one_and_then_put_in_force(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with running(tansu_broker, prefix, tmp_path) as world:
        await world.use()
        world.write("detectors.shadow.yaml", STRICT)
        await until(lambda: world.worker.install.folder.shadow is not None, "the candidate is taken")
        await world.use()

        async def heard() -> bool:
            store = world.worker.store
            assert store is not None
            return bool(await world.stored("findings_shadow")) and bool(acts(store(), TRIAL))

        await until(heard, "what the candidate says is in the store")
        assert {f.detector for f in await world.stored("findings_shadow")} == {"usd_per_min"}
        assert await world.stored("findings") == []
        assert world.told(Finding) == world.told(Incident) == []
        page = await asyncio.to_thread(report, world.folder)
        assert "gained: the candidate alone would tell: 1" in page
        assert "its limit is 0.005 USD/min" in page

        (world.folder / "detectors.shadow.yaml").unlink()
        world.write("detectors.yaml", STRICT)
        await until(lambda: world.worker.install.folder.detectors.limits.usd_per_min == 0.005, "it is in force")
        assert world.worker.install.folder.shadow is None
        await world.use("key_2")
        await until(lambda: world.told(Incident), "the new limit opens an incident in a running core")
        assert {f.key_id for f in await world.stored("findings_shadow")} == {"key_1"}


async def test_a_broken_candidate_changes_nothing_and_is_told(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with running(tansu_broker, prefix, tmp_path) as world:
        world.write("detectors.shadow.yaml", {"limits": {"usd_per_minute": 3}})
        counted = b"keyfuse_config_errors_total 1.0"
        await until(lambda: counted in world.worker.metrics.render(), "the mistake is counted")
        assert world.worker.install.folder.shadow is None


async def test_a_broken_file_leaves_the_thresholds_in_force_until_it_is_mended(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with running(tansu_broker, prefix, tmp_path) as world:
        world.write("detectors.yaml", STRICT)
        await until(lambda: world.worker.install.folder.detectors.limits.usd_per_min == 0.005, "it is in force")
        (world.folder / "detectors.yaml").write_text("limits: {usd_per_min: [", encoding="utf-8")
        counted = b"keyfuse_config_errors_total 1.0"
        await until(lambda: counted in world.worker.metrics.render(), "the mistake is counted")
        await world.use()
        await until(lambda: world.told(Incident), "the limit from before the mistake still tells")

        world.write("detectors.yaml", QUIET)
        await until(lambda: world.worker.install.folder.detectors.limits.usd_per_min is None, "mended, it is taken")
        await world.use("key_2")
        assert {record.key_id for record in world.told(Finding)} == {"key_1"}
