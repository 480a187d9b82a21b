"""A whole install around one worker: configuration in memory, a sandbox provider, channels, and a reader of topics."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr

from containment.sandbox_server import NewKey, Sandbox, create_sandbox
from schemas.config import DetectorsConfig, KeysConfig, PeopleConfig, ResponsesConfig, RoutesConfig, WiringConfig
from schemas.config.detectors import LimitsConfig
from schemas.config.keys import KeyConfig
from schemas.config.people import PersonConfig
from schemas.config.responses import RetryConfig
from schemas.config.routes import ChannelConfig, PagerDutyConfig, RouteConfig
from schemas.config.wiring import IntakeConfig, KafkaConfig, LeaksConfig, ProviderConfig, StateConfig, StoreConfig
from schemas.records import Incident, Outcome, Record, Request
from service.config_tree import Folder
from service.demo_watch import Watch
from service.install import Install, wall_ms
from service.local_server import LocalServer
from service.worker import ROLES, Worker
from storage.testing import fresh_dsn
from streams.outbox import Outbox
from streams.topics import Topic
from tests.alerting.kinds import NETWORKED
from tests.alerting.pagerduty_service import SECRET as WEBHOOK_SECRET
from tests.alerting.slack_server import APP, SIGNING
from tests.brokers import Broker
from tests.integration.servers import Board, Gate, board

PATIENCE_S: Final = 30.0
LIMIT_USD_PER_MIN: Final = 2.0
ENVIRON: Final[Mapping[str, str]] = {
    "KEYFUSE_PEPPER": "pepper of the tests", "KEYFUSE_INTAKE_TOKEN": "intake-token-of-the-tests",
    "SANDBOX_ADMIN": "admin-of-the-sandbox", "PAGERDUTY_WEBHOOK": WEBHOOK_SECRET,
    "SLACK_APP_TOKEN": APP, "SLACK_SIGNING": SIGNING,
} | {f"{kind.upper()}_SECRET": NETWORKED[kind].secret for kind in ("slack", "pagerduty", "webhook")}  # fmt: skip
QUICK_RETRY: Final = RetryConfig(attempts=3, wait_initial_s=0.05, wait_max_s=0.2, timeout_s=2, verify_s=3)
OWNED: Final = {"team": "search", "app": "ranker", "env": "prod"}


async def until(
    condition: Callable[[], Any],
    what: str | Callable[[], str],
    *,
    patience_s: float = PATIENCE_S,
    every_s: float = 0.02,
) -> None:
    """Returns when the condition holds; it may be a coroutine function. Fails with `what` when it never does.

    What is work for other processes to answer, a call through a gateway for one, is not asked every 20 ms.
    """
    try:
        async with asyncio.timeout(patience_s):
            while True:
                held = condition()
                if await held if inspect.isawaitable(held) else held:
                    return
                await asyncio.sleep(every_s)
    except TimeoutError:
        words = what if isinstance(what, str) else what()
        raise AssertionError(f"not within {patience_s:g} s: {words}") from None


@dataclass
class World:
    """One running worker and everything around it."""

    worker: Worker
    watch: Watch
    board: Board
    sandbox: Sandbox
    sender: AIOKafkaProducer
    http: httpx.AsyncClient
    gates: Mapping[str, Gate]  # in front of the services that can be shut off

    async def produce(self, *values: bytes | dict[str, Any], fmt: str | None = None, key: str | None = None) -> None:
        """Records to `usage.raw`; returns when the broker has them."""
        topic = self.worker.install.topics.name(Topic.RAW)
        headers = [("format", fmt.encode())] if fmt else None
        acks: list[Awaitable[object]] = [
            await self.sender.send(
                topic, value if isinstance(value, bytes) else orjson.dumps(value),
                key=key.encode() if key else None, headers=headers,
            )
            for value in values
        ]  # fmt: skip
        await asyncio.gather(*acks)

    async def ask(self, request: Request) -> None:
        """A person's word, as the command line sends it."""
        await Outbox(self.sender, self.worker.install.topics).send(Topic.REQUESTS, [(request.key_id, request)])

    async def stored(self, path: str) -> httpx.Response:
        """What the commands of this machine ask the worker."""
        token = self.worker.install.query_token().get_secret_value()
        return await self.http.get(path, headers={"authorization": f"Bearer {token}"})

    async def post(self, content: bytes, **headers: str) -> httpx.Response:
        return await self.http.post("/v1/events", content=content, headers=headers)

    def told(self, kind: type[Record], key_id: str) -> list[Any]:
        """What the stages said of a key, in order."""
        return [record for record in self.watch.told if isinstance(record, kind) and _key(record) == key_id]

    def incident(self, key_id: str) -> Incident | None:
        """The newest version of the key's only incident."""
        versions: list[Incident] = self.told(Incident, key_id)
        assert len({version.incident_id for version in versions}) <= 1, f"more than one incident of {key_id}"
        return max(versions, key=lambda version: version.seq, default=None)

    def ended(self, key_id: str, state: str, step: str = "disable") -> bool:
        """Whether a command of the key has ended so."""
        outcomes: list[Outcome] = self.told(Outcome, key_id)
        return any((outcome.step, outcome.state.value) == (step, state) for outcome in outcomes)

    def windows(self, key_id: str) -> tuple[dict[str, float], int]:
        """The windows of a key and the clock they are of; no windows and 0 for a key nobody knows."""
        for core in self.worker.score.cores():
            found = core.windows(key_id)
            if found is not None:
                return found, core.clock_s
        return {}, 0

    async def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Asked of the worker's own store."""
        store = self.worker.store
        assert store is not None
        return await asyncio.to_thread(store().connection.rows, sql, parameters)

    async def archived(self, *key_ids: str) -> int:
        """Rows in the archive, of these keys or of all."""
        where = "key_id IN {keys:Array(String)}" if key_ids else "1"
        [(count,)] = await self.rows(f"SELECT count() FROM usage_events FINAL WHERE {where}", keys=list(key_ids))
        return int(count)


@asynccontextmanager
async def running(
    broker: Broker,
    prefix: str,
    directory: Path,
    *,
    roles: Iterable[str] = ROLES,
    gated: Sequence[str] = (),
    now_ms: Callable[[], int] = wall_ms,
    **parts: Any,
) -> AsyncIterator[World]:
    """The worker and its world, gone afterwards. `parts` are `install`'s; `gated` services stand behind a gate;
    `now_ms` is the worker's wall clock.
    """
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(board())
        ports = {name: int(getattr(services, name).url.rpartition(":")[2]) for name in gated}
        gates = {name: await stack.enter_async_context(Gate(port)) for name, port in ports.items()}
        doors = {name: f"http://127.0.0.1:{gate.port}" for name, gate in gates.items()}
        parts["urls"] = doors | parts.get("urls", {})
        app = create_sandbox(SecretStr(ENVIRON["SANDBOX_ADMIN"]))
        provider = LocalServer(app)
        parts.setdefault("sandbox_url", await provider.start())
        stack.push_async_callback(provider.stop)
        one = install(broker, prefix, directory, services=services, **parts)
        for key in one.folder.keys.keys:
            app.state.sandbox.register(NewKey(key_id=key.key_id))
        worker = Worker(one, broker.bootstrap, roles, now_ms=now_ms)
        stack.push_async_callback(worker.stop)
        await worker.start()
        watch = Watch(broker.bootstrap, one.topics)
        await watch.start()
        stack.push_async_callback(watch.stop)
        sender = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", max_request_size=6_000_000)
        await sender.start()
        stack.push_async_callback(sender.stop)
        headers = {"authorization": f"Bearer {ENVIRON['KEYFUSE_INTAKE_TOKEN']}"}
        client = httpx.AsyncClient(base_url=worker.url or "http://nobody", headers=headers, timeout=PATIENCE_S)
        http = await stack.enter_async_context(client)
        yield World(worker, watch, services, app.state.sandbox, sender, http, gates)


def install(
    broker: Broker,
    prefix: str,
    directory: Path,
    *,
    services: Board,
    sandbox_url: str,
    keys: Sequence[str] = (),
    dsn: str = "",
    idle_s: float = 2,
    urls: Mapping[str, str] | None = None,
    leaks: LeaksConfig | None = None,
    people: Mapping[str, PersonConfig] | None = None,
    slack: Mapping[str, Any] | None = None,
    change: Callable[[Folder], Folder] = lambda folder: folder,
    environ: Mapping[str, str] = ENVIRON,
    **responses: Any,
) -> Install:
    """Like a configuration folder, without the files: mode auto, one low certain limit, every channel told.

    `urls` stand in for a service's own, by kind of channel; `slack` are settings added to the channel of that kind.
    """
    wiring = WiringConfig(
        data_dir=str(directory),
        kafka=kafka_config(broker, prefix),
        store=StoreConfig(dsn=dsn or fresh_dsn(), retention_days=36_500),
        intake=IntakeConfig(port=0, max_body_bytes=200_000),
        leaks=leaks or LeaksConfig(),
        state=StateConfig(shards=4, rotation_s=1, idle_s=idle_s),
        providers={"sandbox": ProviderConfig(kind="sandbox", base_url=sandbox_url, secret_env="SANDBOX_ADMIN")},
    )
    detectors = DetectorsConfig(limits=LimitsConfig(usd_per_min=LIMIT_USD_PER_MIN, usd_per_hour=None))
    entries = tuple(KeyConfig(key_id=key, provider="sandbox", **OWNED) for key in keys)
    settings = {"mode": "auto", "retry": QUICK_RETRY, "freeze_file": str(directory / "FREEZE")} | responses
    folder = Folder(
        wiring=wiring, detectors=detectors, keys=KeysConfig(keys=entries),
        routes=routes(services, urls or {}, slack or {}),
        responses=ResponsesConfig(**settings), people=PeopleConfig(people=dict(people or {})),
    )  # fmt: skip
    return Install(change(folder), directory / "no-config-folder", environ)


def kafka_config(broker: Broker, prefix: str) -> KafkaConfig:
    wait_ms = 20 if broker.name == "tansu" else 100
    return KafkaConfig(
        bootstrap=broker.bootstrap, partitions=2, topic_prefix=prefix, session_timeout_s=2, fetch_wait_ms=wait_ms
    )


def routes(services: Board, urls: Mapping[str, str], slack: Mapping[str, Any]) -> RoutesConfig:
    """Slack, PagerDuty and a webhook, all of them for everything. `urls` stand in for a service's own."""
    places = {
        "slack": services.slack.url, "pagerduty": services.pagerduty.url, "webhook": services.webhook.url
    } | dict(urls)  # fmt: skip
    channels = {
        kind: ChannelConfig(
            kind=kind, secret_env=f"{kind.upper()}_SECRET", timeout_s=2,
            pagerduty=PagerDutyConfig(webhook_secret_env="PAGERDUTY_WEBHOOK" if kind == "pagerduty" else ""),
            **({"target": f"{url}/hook"} if kind == "webhook" else NETWORKED[kind].config(url)),
            **(slack if kind == "slack" else {}),
        )
        for kind, url in places.items()
    }  # fmt: skip
    return RoutesConfig(channels=channels, routes=(RouteConfig(channels=tuple(channels)),))


def _key(record: Record) -> str:
    return str(getattr(record, "key_id", ""))
