"""What a person asks for at the terminal, as a record on the requests topic."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Literal, cast, get_args

from rich.console import Console

from schemas.records import Request, Step
from service.errors import UserError
from service.install import Install, Running, wall_ms
from streams.errors import BrokerDown
from streams.kafka import producer, wait_for_broker
from streams.outbox import Outbox
from streams.topics import Topic

Action = Literal["acknowledge", "resolve", "false_positive", "contain", "restore"]


def contain(config: Path, key_id: str, *, step: str, reason: str, by: str, out: Console) -> None:
    """Ask for a cut; the decide stage chooses the rung unless `step` names it."""
    if step and step not in get_args(Step):
        raise UserError(f"--step {step}: expected one of {', '.join(get_args(Step))}")
    install = Install.open(config)
    request = Request(
        request_id=uuid.uuid4().hex, at_ms=wall_ms(), by=by, action="contain", key_id=key_id,
        step=cast("Step", step) if step else None, reason=reason, facts=install.facts_of(key_id),
    )  # fmt: skip
    _send(install, Topic.REQUESTS, request)
    out.print(f"asked to contain {key_id}; `keyfuse incidents` shows what became of it")


def restore(config: Path, key_id: str, *, reason: str, by: str, out: Console) -> None:
    say(config, key_id, "restore", reason=reason, by=by, out=out)


def say(config: Path, key_id: str, action: Action, *, reason: str, by: str, out: Console) -> None:
    """Tell the key's incident something."""
    install = Install.open(config)
    request = Request(
        request_id=uuid.uuid4().hex, at_ms=wall_ms(), by=by, action=action, key_id=key_id, reason=reason,
        facts=install.facts_of(key_id),
    )  # fmt: skip
    _send(install, Topic.REQUESTS, request)
    out.print(f"asked: {action.replace('_', ' ')} {key_id}; `keyfuse incidents` shows what became of it")


def freeze(config: Path, *, frozen: bool, reason: str, by: str, out: Console) -> None:
    """The file works at once, on this machine, without a broker; the record tells the contain stage elsewhere."""
    install = Install.open(config)
    file = Path(install.folder.responses.freeze_file)
    if frozen:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{by}: {reason}\n")
    else:
        file.unlink(missing_ok=True)
    request = Request(
        request_id=uuid.uuid4().hex, at_ms=wall_ms(), by=by, action="freeze" if frozen else "unfreeze", reason=reason
    )
    words = "frozen: no automatic step runs" if frozen else "automatic steps are allowed again"
    try:
        _send(install, Topic.COMMANDS, request)
    except UserError as error:
        out.print(f"{words} on this machine ({file}); not told to other machines: {error}")
        return
    out.print(words)


def bootstrap_of(install: Install) -> str:
    """The broker of what runs here, or the configured one."""
    running = Running.find(install.data_dir)
    if running is not None:
        return running.bootstrap
    bootstrap = install.folder.wiring.kafka.bootstrap
    if bootstrap == "embedded":
        raise UserError(f"nothing runs in {install.data_dir}: start `keyfuse up` first, or set kafka.bootstrap")
    return bootstrap


def _send(install: Install, topic: Topic, request: Request) -> None:
    bootstrap = bootstrap_of(install)
    try:
        asyncio.run(_publish(install, bootstrap, topic, request))
    except BrokerDown as error:
        raise UserError(str(error)) from error


async def _publish(install: Install, bootstrap: str, topic: Topic, request: Request) -> None:
    await wait_for_broker(bootstrap, timeout_s=5)
    sender = producer(bootstrap)
    await sender.start()
    try:
        await Outbox(sender, install.topics).send(topic, [(request.key_id, request)])
    finally:
        await sender.stop()
