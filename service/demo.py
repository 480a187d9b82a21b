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
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import SecretStr
from rich.console import Console

from containment.sandbox_server import NewKey, create_sandbox
from schemas.config import KeysConfig, ResponsesConfig, WiringConfig
from schemas.config.keys import KeyConfig
from schemas.config.wiring import IntakeConfig, ProviderConfig, StateConfig, StoreConfig
from service.config_folder import Folder
from service.demo_report import Bill, write_report
from service.demo_screen import Screen, new_screen
from service.demo_watch import Watch
from service.install import Install, wall_ms
from service.local_server import LocalServer
from service.logs import configure_logging
from service.tansu import Tansu
from service.worker import Worker
from sources.simulator.scenario import Scenario, demo_scenario
from streams.kafka import producer
from streams.topics import Topic

THEFT_LIMIT_S: Final = 45.0  # of real time; a theft that is not contained by then is reported as such
_AFTER_S: Final = 3.0  # go on knocking after the cut, so that the refusals are seen
_WARM_UP_LEAD_MS: Final = 45_000  # event time ends about now
_BATCH: Final = 500


def main(*, seed: int, directory: Path, console: Console) -> None:
    """Runs the demo; exit 0 and no process left, also after Ctrl-C."""
    configure_logging(level="ERROR")
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_interruptible(_demo(seed, directory, console)))


async def _interruptible(work: Any) -> None:  # noqa: ANN401 - a coroutine
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, task.cancel)
    await task


async def _demo(seed: int, directory: Path, console: Console) -> None:
    data_dir = directory / "demo"
    shutil.rmtree(data_dir, ignore_errors=True)
    data_dir.mkdir(parents=True)
    now_ms = wall_ms()
    scenario = demo_scenario(seed, now_ms + _WARM_UP_LEAD_MS + 600_000, provider_override="sandbox")
    with new_screen(console) as screen:
        screen.say("starting the embedded broker, store, stages and a sandbox provider")
        async with _world(scenario, data_dir) as (worker, watch, sandbox):
            bill = await _play(scenario, worker, watch, sandbox, screen)
        path = write_report(directory / "demo-report.md", bill, watch)
        screen.finish(bill, watch, path)


@contextlib.asynccontextmanager
async def _world(scenario: Scenario, data_dir: Path) -> AsyncIterator[tuple[Worker, Watch, Any]]:
    """Sandbox, broker, worker and a reader of what they say; all gone afterwards, whatever happens."""
    app = create_sandbox(SecretStr("demo"))
    sandbox = app.state.sandbox
    for key in scenario.keys:
        sandbox.register(NewKey(key_id=key.key_id))
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
        yield worker, watch, sandbox


def _install(scenario: Scenario, data_dir: Path, sandbox_url: str) -> Install:
    keys = tuple(
        KeyConfig(key_id=k.key_id, provider="sandbox", team=k.team, app=k.app, env=k.env) for k in scenario.keys
    )
    wiring = WiringConfig(
        data_dir=str(data_dir),
        store=StoreConfig(dsn=f"chdb://{data_dir / 'store'}"),
        intake=IntakeConfig(port=0),
        state=StateConfig(rotation_s=4),
        providers={"sandbox": ProviderConfig(kind="sandbox", base_url=sandbox_url, secret_env="SANDBOX_ADMIN")},  # noqa: S106 - a name
    )
    responses = ResponsesConfig(mode="auto", freeze_file=str(data_dir / "FREEZE"))
    folder = Folder(wiring=wiring, keys=KeysConfig(keys=keys), responses=responses)
    environ = {"KEYFUSE_PEPPER": "demo", "SANDBOX_ADMIN": "demo", "KEYFUSE_INTAKE_TOKEN": "demo-intake-token"}
    return Install(folder, data_dir, environ)


async def _play(scenario: Scenario, worker: Worker, watch: Watch, sandbox: Any, screen: Screen) -> Bill:  # noqa: ANN401 - Sandbox
    theft = scenario.thefts[0]
    bill = Bill(key=theft.keys[0], theft_start_ms=theft.start_ms, keys=len(scenario.keys))
    sender = producer(worker.bootstrap, linger_ms=5)
    await sender.start()
    topic = worker.install.topics.name(Topic.RAW)
    try:
        events = scenario.events()
        held = await _warm_up(events, theft.start_ms, sender, topic, bill, screen)
        while _scored(worker) < bill.events:
            screen.show(worker, watch, "warming up: the last of a day's events is being scored")
            await asyncio.sleep(0.1)
        bill.warm_up_incidents = len(watch.incidents)
        screen.say(f"{bill.events:,} events of {bill.keys} keys are known; now a production key is stolen")
        await _theft(held, events, theft.start_ms, sender, topic, (worker, watch, sandbox), bill, screen)
        await _settle(worker, watch, bill, screen)
    finally:
        await sender.stop()
    return bill


async def _warm_up(events: Any, until_ms: int, sender: Any, topic: str, bill: Bill, screen: Screen) -> Any:  # noqa: ANN401 - iterators and aiokafka
    """Everything before the theft, as fast as it is taken; returns the first event after it."""
    acks: list[Any] = []
    for event, stolen in events:
        if event["ts"] >= until_ms:
            await asyncio.gather(*acks)
            return event, stolen
        acks.append(await sender.send(topic, orjson.dumps(event), key=event["key_id"].encode()))
        bill.events += 1
        bill.normal_usd += event["cost_usd"]
        if len(acks) >= _BATCH:
            await asyncio.gather(*acks)
            acks.clear()
            screen.progress(f"warming up: {bill.events:,} events, a day of 60 keys")
    raise RuntimeError("the scenario has no theft")


async def _theft(
    held: Any,
    events: Any,
    start_ms: int,
    sender: Any,
    topic: str,
    world: Any,
    bill: Bill,
    screen: Screen,
) -> None:
    """In real time until the key is cut and has been refused for a while."""
    worker, watch, sandbox = world
    bill.theft_start_s = began_s = time.monotonic()
    event, stolen = held
    while True:
        wait_s = (event["ts"] - start_ms) / 1000 - (time.monotonic() - began_s)
        if wait_s > 0:
            await asyncio.sleep(min(wait_s, 0.25))
        else:
            await _call(event, stolen, sandbox, sender, topic, bill)
            event, stolen = next(events)
        bill.note_cut(watch, time.monotonic())
        screen.show(worker, watch, _state(bill, time.monotonic() - began_s))
        if bill.contained_s is not None and time.monotonic() > bill.contained_s + _AFTER_S:
            return
        if time.monotonic() - began_s > THEFT_LIMIT_S:
            return


async def _call(event: Any, stolen: Any, sandbox: Any, sender: Any, topic: str, bill: Bill) -> None:  # noqa: ANN401 - as above
    """One call: the provider serves or refuses it; what it served is told to Keyfuse, as its gateway would."""
    if sandbox.admit(event["key_id"]) != 200:
        bill.refused += 1
        bill.prevented_usd += event["cost_usd"]
        return
    await sender.send_and_wait(topic, orjson.dumps(event), key=event["key_id"].encode())
    bill.events += 1
    if stolen is not None:
        bill.stolen(event)
    else:
        bill.normal_usd += event["cost_usd"]


def _state(bill: Bill, elapsed_s: float) -> str:
    if bill.contained_s is not None:
        return f"cut and verified after {bill.seconds_to_containment:.1f} s; {bill.refused} calls refused since"
    return f"theft under way for {elapsed_s:.0f} s: {bill.stolen_events} calls, {bill.lost_usd:.2f} USD"


async def _settle(worker: Worker, watch: Watch, bill: Bill, screen: Screen) -> None:
    """Until the archive holds every event and the incident shows its last step, or ten seconds have passed."""
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s and worker.store is not None:
        totals = await asyncio.to_thread(worker.store.usage_totals)
        bill.archived = totals.events
        bill.audit_rows = len(await asyncio.to_thread(worker.store.audit))
        bill.rollup_difference = str(await asyncio.to_thread(worker.store.rollup_vs_raw))
        screen.show(worker, watch, f"archived {bill.archived:,} of {bill.events:,} events")
        if bill.archived >= bill.events:
            return
        await asyncio.sleep(0.2)


def _scored(worker: Worker) -> int:
    return worker.score.scored if worker.score is not None else 0
