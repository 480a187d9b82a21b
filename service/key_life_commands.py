"""What people say of a key's life at the terminal: checked here, judged by the identity stage, who is waited for."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from pydantic import ValidationError
from rich.console import Console

from alerting.words import counted
from controls.desks import IdentityState
from controls.life_desk import why_no_transfer, why_not_left
from controls.owners import may_act
from controls.registry import Registry
from controls.revalidation import why_not_kept
from controls.rotation import why_no_rotation, why_not_by_hand
from schemas.key_record import KeyRecord
from schemas.life import LifeAsk, PersonLeft, RefusedByHand, RevalidateKey, RotateKey, TransferKey
from schemas.records import AuditRow
from schemas.redact import looks_secret
from schemas.virtual_key import last4, new_virtual_key
from service.errors import UserError
from service.install import Install, wall_ms
from service.key_commands import ask_for, collected, registry_of
from service.minted import keep_reader
from service.request_commands import bootstrap_of, person, publish
from streams.errors import BrokerDown
from streams.newest import newest
from streams.topics import Topic

A = TypeVar("A", bound=LifeAsk)
_UNHEARD: Final = "nobody answered within {:g} s: does a worker with the role identity run? What you asked stands"


class Said(NamedTuple):
    """What every command has: where, why, who, how long to wait, and where answers go."""

    config: Path
    reason: str
    by: str
    wait_s: float
    out: Console
    err: Console


class Open(NamedTuple):
    """What is known here."""

    install: Install
    state: IdentityState

    @property
    def registry(self) -> Registry:
        return self.state.registry


def rotate(key_id: str, to: str, overlap_h: float | None, said: Said) -> int:
    """The exit code: 1 when nobody answered. The new secret alone goes to standard output."""
    here, secret = _open(said, key_id, to), None
    entry = here.registry.entry(key_id)
    new = to
    if not to and entry is not None and entry.kind == "virtual":
        secret = new_virtual_key(secrets.randbelow)
        new = here.install.fingerprinter().of(secret.get_secret_value())
    elif not to and entry is not None and entry.kind == "provider":
        return _rotate_made(entry, here, said)
    elif not to and entry is not None:
        how = "make a new one there, enter it in keys.yaml, and name it with --to"
        raise UserError(f"{key_id} was made at {entry.provider}: {how}")
    ask = _ask(
        RotateKey, said, key_id=key_id, new_key_id=new, overlap_h=overlap_h, last4=last4(secret) if secret else ""
    )
    _check(why_no_rotation(ask, here.state))
    row = _judged(here.install, ask, said)
    if secret is not None:
        said.out.print(secret.get_secret_value(), markup=False)
    if row is None:
        return _unheard(said)
    hours = here.install.folder.keys.issuing.overlap_h if overlap_h is None else overlap_h
    shown = " Shown once: put it where your application reads its secrets." if secret else ""
    said.err.print(
        f"{new} takes over from {key_id}, which is served for another {hours:g} h.{shown} "
        "`keyfuse keys rotations` shows the proof when the old one is refused.", markup=False
    )  # fmt: skip
    return 0


def _rotate_made(entry: KeyRecord, here: Open, said: Said) -> int:
    """Its provider makes the next one, sealed to us; the old one is served until then, and for the overlap."""
    ask = _ask(RotateKey, said, key_id=entry.key_id, seal_to="0" * 64)
    _check(why_no_rotation(ask, here.state))
    ask = ask.model_copy(update={"seal_to": keep_reader(here.install, ask.request_id)})
    try:
        made = asyncio.run(ask_for(here.install, ask, said.wait_s))
    except BrokerDown as error:
        raise UserError(str(error)) from error
    if made is None:
        said.err.print(f"{_UNHEARD.format(said.wait_s)}: `keyfuse keys collect {ask.request_id}`", markup=False)
        return 1
    if made.state == "refused":
        raise UserError(made.change)
    said.out.print(collected(here.install, made).get_secret_value(), markup=False)
    said.err.print(f"{made.key_id} takes over from {entry.key_id} within a minute or two. Shown once.", markup=False)
    return 0


def transfer(key_id: str, to: str, said: Said) -> int:
    here = _open(said, key_id)
    ask = _ask(TransferKey, said, key_id=key_id, to=to)
    _check(why_no_transfer(ask, here.state))
    days = here.install.folder.keys.rotation.after_transfer_days
    return _told(here, ask, said, f"{to} answers for {key_id}; its secret is due to be changed within {days:g} days")


def leave(name: str, to: str, said: Said) -> int:
    here = _open(said)
    ask = _ask(PersonLeft, said, person=name, to=to)
    _check(why_not_left(ask, here.state))
    hours = here.install.folder.keys.rotation.after_leaving_h
    words = f"others answer for {{keys}} of {name} now; each secret is due to be changed within {hours:g} h"
    return _told(here, ask, said, f"{words}. Take {name} out of people.yaml: until then their word counts")


def revalidate(key_id: str, said: Said) -> int:
    here = _open(said, key_id)
    ask, entry = _ask(RevalidateKey, said, key_id=key_id), here.registry.entry(key_id)
    _check(why_not_kept(entry, key_id) or (may_act(ask.by, entry, here.state.people) if entry else ""))
    return _told(here, ask, said, f"{key_id} is still needed, says {ask.by}")


def gone(key_id: str, said: Said) -> int:
    here = _open(said, key_id)
    ask = _ask(RefusedByHand, said, key_id=key_id)
    _check(why_not_by_hand(ask, here.state))
    return _told(here, ask, said, f"the rotation of {key_id} has ended; its evidence says that Keyfuse did not try it")


def _open(said: Said, *names: str) -> Open:
    if any(looks_secret(name) for name in names):
        raise UserError("this looks like the secret itself; name the key as `keyfuse keys list` shows it")
    install = Install.open(said.config)
    return Open(install, IdentityState(registry_of(install), people=install.people))


def _ask(kind: type[A], said: Said, **fields: Any) -> A:  # noqa: ANN401 - the fields of any of them
    return kind(request_id=uuid.uuid4().hex, by=person(said.by), at_ms=wall_ms(), reason=said.reason, **fields)


def _check(why: str) -> None:
    if why:
        raise UserError(f"not taken: {why}")


def _told(here: Open, ask: LifeAsk, said: Said, words: str) -> int:
    row = _judged(here.install, ask, said)
    if row is None:
        return _unheard(said)
    said.err.print(words.replace("{keys}", counted(len(row.detail["keys"]), "key")), markup=False)
    return 0


def _unheard(said: Said) -> int:
    said.err.print(_UNHEARD.format(said.wait_s), markup=False)
    return 1


def _judged(install: Install, ask: LifeAsk, said: Said) -> AuditRow | None:
    """The identity stage's word; None when there is none in time. UserError when it says no."""
    try:
        row = asyncio.run(_heard(install, ask, said.wait_s))
    except BrokerDown as error:
        raise UserError(str(error)) from error
    if row is not None and row.result == "refused":
        raise UserError(f"not taken: {row.detail['why']}")
    return row


async def _heard(install: Install, ask: LifeAsk, wait_s: float) -> AuditRow | None:
    bootstrap, topics = bootstrap_of(install), install.topics
    async with newest(bootstrap, topics.name(Topic.AUDIT), topics.count(Topic.AUDIT)) as reader:
        await publish(install, bootstrap, Topic.KEY_ASKS, [(ask.request_id, ask)])
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    for records in (await reader.getmany(timeout_ms=200)).values():
                        row = next(filter(None, (_answer(record.value, ask) for record in records)), None)
                        if row is not None:
                            return row
        except TimeoutError:
            return None


def _answer(value: bytes | None, ask: LifeAsk) -> AuditRow | None:
    try:
        row = AuditRow.from_bytes(value or b"")
    except ValidationError:
        return None
    return row if row.detail.get("request_id") == ask.request_id else None
