"""What a person asks for at the terminal, as a record on the requests topic."""

from __future__ import annotations

import asyncio
import getpass
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, cast

from rich.console import Console

from alerting.answered import SNOOZE_MAX_MS
from alerting.steps import pending
from containment.providers.base import StepSpec
from controls.people import Deed
from schemas.records import Incident, KeyFacts, Record, Request, Step
from schemas.redact import looks_secret
from service.backups import users_words
from service.errors import UserError
from service.install import Install, Running, wall_ms
from service.mark_words import moment_ms
from service.query_commands import ask
from streams.errors import BrokerDown
from streams.kafka import producer, wait_for_broker
from streams.orders import peoples_step
from streams.outbox import Outbox
from streams.topics import Topic

Action = Literal["acknowledge", "resolve", "false_positive", "approve", "reject", "snooze", "restore"]
_STEPS: Final = ("throttle", "degrade", "block", "disable", "revoke")
LOOK_BACK_H: Final = 24 * 90


def contain(config: Path, key_id: str, *, step: str, reason: str, by: str, out: Console) -> None:
    """Ask for a cut; the decide stage chooses the rung unless `step` names it."""
    install = Install.open(config)
    by, facts = speaker(install, by, "contain"), known_facts(config, install, key_id)
    if _check_step(install, key_id, facts, step):
        speaker(install, by, "contain", final=True)
    request = Request(
        request_id=uuid.uuid4().hex, at_ms=wall_ms(), by=by, action="contain", key_id=key_id,
        step=cast("Step", step) if step else None, reason=reason, facts=facts,
    )  # fmt: skip
    send(install, Topic.REQUESTS, (request.key_id, request))
    users = users_words(install, key_id, request.step)
    out.print(f"asked to contain {key_id} ({users}); `keyfuse incidents` shows what became of it", markup=False)


def say(
    config: Path, key_id: str, action: Action, *, reason: str, by: str, out: Console, until_ms: int | None = None
) -> None:
    """Tell the key's incident something."""
    install = Install.open(config)
    if action in ("approve", "reject"):
        _check_waiting(config, key_id)
    request = Request(
        request_id=uuid.uuid4().hex, at_ms=wall_ms(), by=speaker(install, by, action), action=action, key_id=key_id,
        reason=reason, until_ms=until_ms, facts=known_facts(config, install, key_id),
    )  # fmt: skip
    send(install, Topic.REQUESTS, (request.key_id, request))
    words = action.replace("_", " ")
    out.print(f"asked: {words} {key_id}; `keyfuse incidents` shows what became of it", markup=False)


def _check_waiting(config: Path, key_id: str) -> None:
    """UserError where it is known that nothing waits. When nobody can be asked a person is heard all the same."""
    try:
        rows = ask(config, "incidents", {"limit": 10_000})
    except UserError:
        return
    newest = next((Incident.model_validate(row) for row in rows if row["key_id"] == key_id), None)
    if newest is None or not pending(newest):
        raise UserError(f"nothing waits for an approval for {key_id}; `keyfuse incidents` shows what does")


def snooze(config: Path, key_id: str, span: str, *, reason: str, by: str, out: Console) -> None:
    """Acknowledge for a time; `span` is as 30m, 2h, or a time."""
    now_ms = wall_ms()
    try:
        until_ms = moment_ms(span, now_ms)
    except (ValueError, OverflowError) as error:
        raise UserError(f"--for {span}: expected 30m, 2h, or a time (RFC 3339)") from error
    if not now_ms < until_ms <= now_ms + SNOOZE_MAX_MS:
        raise UserError(f"--for {span}: from a moment to seven days")
    say(config, key_id, "snooze", reason=reason, by=by, out=out, until_ms=until_ms)


def speaker(install: Install, by: str, action: Deed, *, final: bool = False) -> str:
    """Who asks: as given, else the login name. UserError where people.yaml does not let them (decide checks again)."""
    name = person(by)
    stop = install.people.why_not(name, action, final=final)
    if stop:
        raise UserError(f"{stop} (people.yaml)")
    return name


def person(by: str) -> str:
    """Two approvals need two people, so nobody may pass for Keyfuse."""
    try:
        name = by.strip() or getpass.getuser()
    except (KeyError, OSError):  # a container without a user database
        name = ""
    if name.lower() in ("", "keyfuse", "unknown"):
        raise UserError("say who you are: `--by NAME` goes to the audit and counts as an approval")
    return name


def known_facts(config: Path, install: Install, key_id: str) -> KeyFacts | None:
    """What is known of the key. None when nobody can be asked: a person's order is sent all the same.

    Raises:
        UserError: everybody was asked and nobody knows the key: most likely a slip in copying.
    """
    if looks_secret(key_id):
        raise UserError("this looks like the secret itself; name the key as `keyfuse keys` shows it")
    facts = install.facts_of(key_id)
    if facts is not None:
        return facts
    try:
        incidents = ask(config, "incidents", {"limit": 10_000})
        uses = ask(config, "keys", {"hours": LOOK_BACK_H, "limit": 1_000_000})
    except UserError:
        return None
    told = next((row["facts"] for row in incidents if row["key_id"] == key_id), None)
    used = next((row for row in uses if row["key_id"] == key_id), None)
    if told is None and used is None:
        raise UserError(f"nothing is known of a key {key_id}; `keyfuse keys` shows the names of those in use")
    fields = told or {name: used[name] for name in ("provider", "team", "app", "env") if used}
    return KeyFacts.model_validate(fields)


def _check_step(install: Install, key_id: str, facts: KeyFacts | None, step: str) -> bool:
    """Whether it cannot be undone. UserError where the order would end in nothing, and nobody would be told."""
    if step and step not in _STEPS:
        raise UserError(f"--step {step}: expected one of {', '.join(_STEPS)}")
    if facts is None:
        return step == "revoke"
    offered = steps_for_people(install, key_id, facts)
    if step and step not in offered:
        raise UserError(f"--step {step}: {facts.provider} offers {', '.join(offered)} for {key_id}")
    if not step and peoples_step(offered) is None:
        ways = ", ".join(f"--step {name} (the whole {spec.scope})" for name, spec in offered.items())
        raise UserError(f"every step for {key_id} stops more than this key, so name it: {ways}")
    asked = cast("Step", step) if step else peoples_step(offered)
    return asked is not None and not offered[asked].reversible


def steps_for_people(install: Install, key_id: str, facts: KeyFacts) -> Mapping[Step, StepSpec]:
    """What a person may order for this key. UserError where it is nothing, with what to mend."""
    steps_of = install.offered().get(facts.provider)
    by_hand = f"or switch the key off at {facts.provider} by hand"
    if steps_of is None:
        raise UserError(
            f"nothing can be done to a key of {facts.provider}: add `providers.{facts.provider}` to keyfuse.yaml, "
            f"{by_hand}"
        )
    ref = facts.provider_ref or key_id
    offered = steps_of(ref)
    if not offered:
        raise UserError(f"{ref} is not how {facts.provider} names a key: give its provider_ref in keys.yaml, {by_hand}")
    return offered


def freeze(config: Path, *, frozen: bool, reason: str, by: str, out: Console) -> None:
    """The file works at once, on this machine, without a broker; the request tells the contain stage elsewhere.

    It goes through decide like every word of people: only what decide has signed is believed.
    """
    install = Install.open(config)
    by = speaker(install, by, "freeze" if frozen else "unfreeze")
    file = Path(install.folder.responses.freeze_file)
    if frozen:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{by}: {reason}\n", encoding="utf-8")
    else:
        file.unlink(missing_ok=True)
    request = Request(
        request_id=uuid.uuid4().hex, at_ms=wall_ms(), by=by, action="freeze" if frozen else "unfreeze", reason=reason
    )
    words = "frozen: no automatic step runs" if frozen else "automatic steps are allowed again"
    try:
        send(install, Topic.REQUESTS, (request.key_id, request))
    except UserError as error:
        out.print(f"{words} on this machine ({file}); not told to other machines: {error}", markup=False)
        return
    out.print(f"{words} on this machine ({file}); asked everywhere: the metric keyfuse_frozen shows it", markup=False)


def bootstrap_of(install: Install) -> str:
    """The broker of what runs here, or the configured one."""
    running = Running.find(install.data_dir)
    if running is not None:
        return running.bootstrap
    bootstrap = install.folder.wiring.kafka.bootstrap
    if bootstrap == "embedded":
        raise UserError(f"nothing runs in {install.data_dir}: start `keyfuse up` first, or set kafka.bootstrap")
    return bootstrap


def send(install: Install, topic: Topic, *records: tuple[str, Record]) -> None:
    """Returns when the broker has each record under its key. UserError when it does not answer."""
    bootstrap = bootstrap_of(install)
    try:
        asyncio.run(publish(install, bootstrap, topic, records))
    except BrokerDown as error:
        raise UserError(str(error)) from error


async def publish(install: Install, bootstrap: str, topic: Topic, records: Iterable[tuple[str, Record]]) -> None:
    await wait_for_broker(bootstrap, timeout_s=5)
    sender = producer(bootstrap)
    await sender.start()
    try:
        await Outbox(sender, install.topics).send(topic, records)
    finally:
        await sender.stop()
