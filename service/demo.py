"""`keyfuse demo`: the main job on the embedded defaults. 60 keys, one stolen, cut and verified; then the bill.

A day of traffic is played as fast as it is taken, so that the keys have a normal. The theft is played in real time:
its seconds are seconds. Every call of a key is asked of the sandbox provider first, so a cut key really is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine
from pathlib import Path
from typing import Final

import orjson
from aiokafka import AIOKafkaProducer
from pydantic import SecretStr
from rich.console import Console

from containment.sandbox_server import NewKey, Sandbox, create_sandbox
from schemas.config import DetectorsConfig, KeysConfig, ResponsesConfig, WiringConfig
from schemas.config.detectors import TimeConfig
from schemas.config.keys import KeyConfig
from schemas.config.wiring import IntakeConfig, KafkaConfig, ProviderConfig, StateConfig, StoreConfig
from service.config_folder import Folder
from service.demo_report import Bill, write_report
from service.demo_screen import Screen, new_screen
from service.demo_watch import Watch
from service.errors import UserError
from service.install import Install, wall_ms
from service.local_server import LocalServer
from service.logs import configure_logging
from service.tansu import Tansu
from service.worker import Worker
from sources.simulator.events import Event
from sources.simulator.scenario import Scenario, demo_scenario
from streams.kafka import producer
from streams.topics import Topic

THEFT_LIMIT_S: Final = 45.0  # of real time; a theft that is not contained by then is reported as such
_AFTER_S: Final = 3.0  # go on knocking after the cut, so that the refusals are seen
_WARM_UP_LEAD_MS: Final = 45_000  # event time ends about now
_BATCH: Final = 500
_PATIENCE_S: Final = 60.0  # for the next event to be scored
_SERVED: Final = 200
_DAY_EVENTS: Final = 60_000  # a small company's day, in time for a demo


def main(*, seed: int, directory: Path, console: Console) -> None:
    """Runs the demo; exit 0 and no process left, also after Ctrl-C."""
    configure_logging(level="CRITICAL")
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_interruptible(_demo(seed, directory, console)))


async def _interruptible(work: Coroutine[None, None, None]) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, task.cancel)
    await task


async def _demo(seed: int, directory: Path, console: Console) -> None:
    data_dir = directory / "demo"
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir(parents=True)
    end_ms = wall_ms() + _WARM_UP_LEAD_MS + 600_000
    scenario = demo_scenario(seed, end_ms, provider_override="sandbox", normal_events=_DAY_EVENTS)
    with new_screen(console) as screen:
        screen.say("starting the embedded broker, store, stages and a sandbox provider")
        async with _stage_set(scenario, data_dir, screen) as play:
            await play.warm_up()
            await play.theft()
            await play.settle()
        path = write_report(directory / "demo-report.md", play.bill, play.watch)
        screen.finish(play.bill, play.watch, path)


@contextlib.asynccontextmanager
async def _stage_set(scenario: Scenario, data_dir: Path, screen: Screen) -> AsyncIterator[Play]:
    """Sandbox, broker, worker and a reader of what they say; all gone afterwards, whatever happens."""
    app = create_sandbox(SecretStr("demo"))
    for key in scenario.keys:
        app.state.sandbox.register(NewKey(key_id=key.key_id))
    async with contextlib.AsyncExitStack() as stack:
        server = LocalServer(app)
        url = await server.start()
        stack.push_async_callback(server.stop)
        tansu = await stack.enter_async_context(Tansu(log_path=data_dir / "tansu.log"))
        worker = Worker(_install(scenario, data_dir, url), tansu.bootstrap)
        stack.push_async_callback(worker.stop)
        await worker.start()
        watch = Watch(tansu.bootstrap, worker.install.topics)
        await watch.start()
        stack.push_async_callback(watch.stop)
        sender = producer(worker.bootstrap, linger_ms=5)
        await sender.start()
        stack.push_async_callback(sender.stop)
        yield Play(scenario, worker, watch, app.state.sandbox, sender, screen)


def _install(scenario: Scenario, data_dir: Path, sandbox_url: str) -> Install:
    keys = tuple(
        KeyConfig(key_id=k.key_id, provider="sandbox", team=k.team, app=k.app, env=k.env) for k in scenario.keys
    )
    wiring = WiringConfig(
        data_dir=str(data_dir),
        kafka=KafkaConfig(partitions=1),  # a step of the detectors costs as much for 15 keys as for 60
        store=StoreConfig(dsn=f"chdb://{data_dir / 'store'}"),
        intake=IntakeConfig(port=0),
        state=StateConfig(rotation_s=4),
        providers={"sandbox": ProviderConfig(kind="sandbox", base_url=sandbox_url, secret_env="SANDBOX_ADMIN")},  # noqa: S106 - a name
    )
    # The day ends where the theft begins, some time ahead of the clock, however fast it is played.
    detectors = DetectorsConfig(time=TimeConfig(max_future_s=2 * _WARM_UP_LEAD_MS // 1000))
    responses = ResponsesConfig(mode="auto", freeze_file=str(data_dir / "FREEZE"))
    folder = Folder(wiring=wiring, detectors=detectors, keys=KeysConfig(keys=keys), responses=responses)
    environ = {"KEYFUSE_PEPPER": "demo", "SANDBOX_ADMIN": "demo", "KEYFUSE_INTAKE_TOKEN": "demo-intake-token"}
    return Install(folder, data_dir, environ)


class Play:
    """One run: the owners' day, the theft, the end."""

    def __init__(
        self,
        scenario: Scenario,
        worker: Worker,
        watch: Watch,
        sandbox: Sandbox,
        sender: AIOKafkaProducer,
        screen: Screen,
    ) -> None:
        theft = scenario.thefts[0]
        self.bill = Bill(
            key=theft.keys[0], theft_start_ms=theft.start_ms, keys=len(scenario.keys),
            thief_usd_per_min=theft.taken.usd_per_min or 0,
        )  # fmt: skip
        self.watch = watch
        self._worker = worker
        self._sandbox = sandbox
        self._sender = sender
        self._screen = screen
        self._topic = worker.install.topics.name(Topic.RAW)
        self._events = scenario.events()
        self._held = next(self._events)

    async def warm_up(self) -> None:
        """Everything before the theft, as fast as it is taken, until it is scored."""
        acks: list[Awaitable[object]] = []
        while self._held[0]["ts"] < self.bill.theft_start_ms:
            event = self._held[0]
            acks.append(await self._send(event))
            self.bill.events += 1
            self._held = next(self._events)
            if len(acks) >= _BATCH:
                await asyncio.gather(*acks)
                acks.clear()
                self._screen.progress(f"warming up: {self.bill.events:,} events, a day of {self.bill.keys} keys")
        await asyncio.gather(*acks)
        await self._all_scored()
        self.bill.warm_up_incidents = len(self.watch.incidents)
        self._screen.say(
            f"{self.bill.events:,} events of {self.bill.keys} keys are known; now a production key is stolen"
        )

    async def _all_scored(self) -> None:
        """UserError when nothing moves any more: a demo that waits for ever explains nothing."""
        scored, since_s = -1, time.monotonic()
        while self._worker.score.scored < self.bill.events:
            if self._worker.score.scored > scored:
                scored, since_s = self._worker.score.scored, time.monotonic()
            if time.monotonic() - since_s > _PATIENCE_S:
                _, report = self._worker.health.report(time.monotonic())
                why = "; ".join(report["problems"]) or f"see {self._worker.install.data_dir / 'tansu.log'}"
                raise UserError(f"{scored:,} of {self.bill.events:,} events were scored, then no more: {why}")
            self._screen.show(self._worker, self.watch, "warming up: the last of the day's events is being scored")
            await asyncio.sleep(0.1)

    async def theft(self) -> None:
        """In real time, until the key is cut and has been refused for a while."""
        bill = self.bill
        bill.theft_start_s = began_s = time.monotonic()
        while not self._over(time.monotonic()):
            event, stolen = self._held
            wait_s = (event["ts"] - bill.theft_start_ms) / 1000 - (time.monotonic() - began_s)
            if wait_s > 0:
                await asyncio.sleep(min(wait_s, 0.25))
            else:
                await self._call(event, stolen=stolen is not None)
                self._held = next(self._events)
            bill.note_cut(self.watch, time.monotonic())
            self._screen.show(self._worker, self.watch, self._state(time.monotonic() - began_s))

    async def settle(self) -> None:
        """Until the archive holds every event, or ten seconds have passed."""
        deadline_s = time.monotonic() + 10
        while time.monotonic() < deadline_s and self._worker.store is not None:
            totals = await asyncio.to_thread(self._worker.store().usage_totals)
            self.bill.archived = totals.events
            self.bill.audit_rows = len(await asyncio.to_thread(self._worker.store().audit))
            self._screen.show(self._worker, self.watch, f"archived {totals.events:,} of {self.bill.events:,} events")
            if totals.events >= self.bill.events:
                return
            await asyncio.sleep(0.2)

    async def _call(self, event: Event, *, stolen: bool) -> None:
        """One call: the provider serves or refuses it; what it served is told to Keyfuse, as its gateway would."""
        if self._sandbox.admit(event["key_id"]) != _SERVED:
            self.bill.refused += 1
            return
        await (await self._send(event))
        self.bill.events += 1
        if stolen:
            self.bill.stolen(event, time.monotonic())

    async def _send(self, event: Event) -> Awaitable[object]:
        sent: Awaitable[object] = await self._sender.send(
            self._topic, orjson.dumps(event), key=event["key_id"].encode()
        )
        return sent

    def _over(self, now_s: float) -> bool:
        cut_s = self.bill.contained_s
        return (cut_s is not None and now_s > cut_s + _AFTER_S) or now_s - self.bill.theft_start_s > THEFT_LIMIT_S

    def _state(self, elapsed_s: float) -> str:
        bill = self.bill
        if bill.seconds_to_containment is not None:
            return f"cut and verified after {bill.seconds_to_containment:.1f} s; {bill.refused} calls refused since"
        return f"theft under way for {elapsed_s:.0f} s: {bill.stolen_events} calls, {bill.lost_usd:.2f} USD"
