"""`keyfuse keys request, show, history, list, approve, refuse`: keys from the first wish to the last change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic import SecretStr, ValidationError
from rich.console import Console

from alerting.words import clean
from controls.issuing_desk import APPROVE, REFUSE, waits
from controls.registry import Registry
from schemas.key_ask import KeyAsk, Problem, wish_of
from schemas.key_record import UNMADE, KeyRecord
from schemas.life import RotateKey
from schemas.records import rfc3339
from schemas.redact import looks_secret
from service import question_commands
from service.errors import UserError
from service.install import Install, wall_ms
from service.key_asking import Asker, Prepared, prepare, standing_words
from service.key_history import Line, lines_of
from service.minted import collect as open_sealed
from service.minted import find_minted, keep_reader
from service.query_commands import answer_of
from service.request_commands import bootstrap_of, person, publish
from service.setup_commands import connect, no_answer
from storage.errors import StoreError
from streams.errors import BrokerDown
from streams.kafka import wait_for_broker
from streams.keys import read_keys
from streams.newest import newest
from streams.topics import Topic

_FIELDS: Final = (
    "state", "kind", "provider", "provider_ref", "owner", "purpose", "team", "app", "env", "data_class", "scopes",
    "networks", "countries", "origins", "backup", "protected", "created_ms", "expires_ms", "rotate_every_days",
    "rotated_ms", "revalidated_ms", "quota_usd_per_day", "quota_requests_per_min", "approved_by", "request_id",
    "replaces", "replaced_by", "valid_until_ms", "last4",
)  # fmt: skip
_LATER: Final = "0" * 64  # a key to seal to is made once nothing is wrong
_OPTION: Final = {
    "kind": "provider",
    "networks": "network",
    "countries": "country",
    "origins": "origin",
    "scopes": "scope",
}


class Shown(NamedTuple):
    """Where answers go: the key alone to `out`, so that it can be piped on; words to `err`."""

    out: Console
    err: Console
    as_json: bool = False


def request(config: Path, wish: Mapping[str, Any], *, by: str, request_id: str, wait_s: float, shown: Shown) -> int:
    """Ask for a key and wait for the answer. The exit code: 1 when nobody answered."""
    install, by, slips = Install.open(config), person(by), wish_of(wish)
    if isinstance(slips, list):  # before anybody is asked
        raise UserError(_all_wrong(slips))
    registry = registry_of(install)
    known = registry.asked_for(request_id) if request_id else None
    if known is not None:
        _tell(known, "", shown, "answered before, and its key was shown then")
        return 0
    prepared = prepare(install, registry, wish, Asker(by, "terminal", request_id, _LATER), now_ms=wall_ms())
    if isinstance(prepared, list):
        raise UserError(_all_wrong(prepared))
    ask = prepared.ask
    if prepared.secret is None:
        ask = ask.model_copy(update={"seal_to": keep_reader(install, ask.request_id)})
    key = asyncio.run(ask_for(install, ask, wait_s))
    if key is None:
        return _unanswered(prepared, wait_s, shown)
    if key.state == "refused":
        raise UserError(f"{standing_words(key)}")
    secret = prepared.secret or (collected(install, key) if key.state == "active" else SecretStr(""))
    _tell(key, secret.get_secret_value(), shown, "shown once: put it where your application reads its secrets")
    return 0


def collect(config: Path, request_id: str, *, out: Console) -> None:
    """A provider's credential that was made after its request had ended: shown once, where it was asked for."""
    install, registry = _open(config, request_id)
    key = registry.asked_for(request_id) or _find(registry, request_id)
    if key.state != "active" or key.kind != "provider":
        raise UserError(f"{request_id}: there is nothing to collect, {standing_words(key)}")
    out.print(collected(install, key).get_secret_value(), markup=False)


def collected(install: Install, key: KeyRecord) -> SecretStr:
    """Its secret, opened. UserError where it is not there any more, or was not asked for from here."""
    minted = asyncio.run(find_minted(install, bootstrap_of(install), key.request_id))
    if minted is None or not minted.sealed:
        raise UserError(f"{key.key_id}: its secret is not in the topic any more; ask for another")
    return open_sealed(install, minted)


def show(config: Path, name: str, *, as_json: bool, out: Console) -> None:
    """All that is known of one key."""
    key = _find(_open(config, name)[1], name)
    if as_json:
        out.print(key.model_dump_json(), markup=False)
        return
    fields = [(field, getattr(key, field)) for field in _FIELDS if getattr(key, field) not in (None, "", (), False)]
    lines = [f"  {field.removesuffix('_ms'):<22} {clean(_value(field, value), 500)}" for field, value in fields]
    last = f"  {'last change':<22} {rfc3339(key.at_ms)} by {clean(key.by)}: {clean(key.change, 500)}"
    out.print("\n".join([clean(key.key_id), *lines, last]), markup=False)


def history(config: Path, name: str, *, as_json: bool, out: Console) -> None:
    """Each change, oldest first: who, when, what."""
    install, registry = _open(config, name)
    key = registry.entry(name) or registry.asked_for(name)
    key_id = key.key_id if key is not None else name
    told = answer_of(install, "key_history", {"key_id": key_id})
    versions = [KeyRecord.model_validate(row) for row in told["records"]]
    before = [Line(**row) for row in told["written"]] + _before_it_was_made(install, key)
    if key is not None and key.seq > (versions[-1].seq if versions else 0):
        versions.append(key)  # the archive is a moment behind
    found = sorted([*before, *lines_of(versions)], key=lambda line: line.at_ms)
    if not found:
        raise UserError(_unknown(key_id))
    for line in found:
        if as_json:
            out.print(json.dumps(line._asdict()), markup=False)
        else:
            out.print(f"{rfc3339(line.at_ms)[:19]}Z  {clean(line.by):<16} {clean(line.words, 1000)}", markup=False)


def _before_it_was_made(install: Install, key: KeyRecord | None) -> list[Line]:
    """Who asked for a provider's credential, and who approved it, stands under the name that it had until then."""
    if key is None or key.kind != "provider" or key.key_id.startswith(UNMADE):
        return []
    told = answer_of(install, "key_history", {"key_id": f"{UNMADE}{key.request_id}"})
    return lines_of([KeyRecord.model_validate(row) for row in told["records"]])


def listed(config: Path, wanted: Mapping[str, str], *, as_json: bool, out: Console) -> None:
    """Every key of keys.yaml and every one that was issued, by team and environment."""
    registry = registry_of(Install.open(config))
    found = [
        key for key in registry.entries().values()
        if all(getattr(key, name) == value for name, value in wanted.items() if value) and not _is_left(key)
    ]  # fmt: skip
    for key in sorted(found, key=lambda key: (key.team, key.env, key.app, key.key_id)):
        if as_json:
            out.print(key.model_dump_json(), markup=False)
        else:
            ends = f"until {rfc3339(key.expires_ms)[:10]}" if key.expires_ms else ""
            who = clean(f"{key.team}/{key.app}, {key.owner or 'no owner'}", 60)
            out.print(f"{key.state:<10} {clean(key.env, 20):<10} {ends:<17} {clean(key.key_id)} ({who})", markup=False)
    if not found and not as_json:
        out.print("no such key; `keyfuse keys request --help` tells how to get one")


def judge(config: Path, name: str, choice: Literal["approve", "refuse"], *, reason: str, by: str, out: Console) -> None:
    """Answer the request for a key; tells what came of it."""
    install, registry = _open(config, name)
    key = _find(registry, name)
    waits = [
        each for each in question_commands.known(install).values()
        if each.kind == "key_request" and each.about == key.key_id and each.state == "open"
    ]  # fmt: skip
    if not waits:
        raise UserError(f"{key.key_id} waits for nobody: it is {standing_words(key)}")
    chosen = APPROVE if choice == "approve" else REFUSE
    question_commands.answer(config, waits[0].question_id, chosen, reason=reason, by=by, out=out)


def registry_of(install: Install) -> Registry:
    """keys.yaml and what the broker has; what the store has when nothing runs here."""
    registry, topics = Registry(install.folder.keys), install.topics
    try:
        bootstrap = bootstrap_of(install)
    except UserError:
        return _stored(install, registry)

    async def read() -> None:
        await wait_for_broker(bootstrap, timeout_s=5)
        await read_keys(bootstrap, topics.name(Topic.KEYS), topics.count(Topic.KEYS), take=registry.take)

    try:
        asyncio.run(read())
    except BrokerDown as error:
        raise UserError(str(error)) from error
    return registry


def _stored(install: Install, registry: Registry) -> Registry:
    store = connect(install)
    try:
        for record in store.key_records():
            registry.take(record)
    except StoreError as error:
        raise no_answer(error) from error
    finally:
        store.close()
    return registry


async def ask_for(install: Install, ask: KeyAsk | RotateKey, wait_s: float) -> KeyRecord | None:
    """What became of it; None when nobody said so in time."""
    bootstrap, topics = bootstrap_of(install), install.topics
    async with newest(bootstrap, topics.name(Topic.KEYS), topics.count(Topic.KEYS)) as reader:
        await publish(install, bootstrap, Topic.KEY_ASKS, [(ask.request_id, ask)])
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    for records in (await reader.getmany(timeout_ms=200)).values():
                        for record in records:
                            key = _key(record.value)
                            if key is not None and key.request_id == ask.request_id and _is_decided(key):
                                return key
        except TimeoutError:
            return None


def _is_left(key: KeyRecord) -> bool:
    """The name that a provider's credential had until it was made."""
    return key.key_id.startswith(UNMADE) and bool(key.replaced_by)


def _is_decided(key: KeyRecord) -> bool:
    """Not the name that a provider's credential has until it is made."""
    return waits(key) or (key.state != "pending" and not key.replaced_by)


def _key(value: bytes | None) -> KeyRecord | None:
    try:
        return KeyRecord.from_bytes(value or b"")
    except ValidationError:
        return None


def _unanswered(prepared: Prepared, wait_s: float, shown: Shown) -> int:
    """The wish stands, so its key is shown: it works once somebody answers."""
    words = f"nobody answered within {wait_s:g} s: does a worker with the role identity run? The request stands"
    told = {"request_id": prepared.ask.request_id, "key_id": prepared.ask.key_id, "state": "asked", "detail": words}
    secret = prepared.secret.get_secret_value() if prepared.secret else ""
    if shown.as_json:
        shown.out.print(json.dumps(told | ({"key": secret} if secret else {})), markup=False)
    else:
        if secret:
            shown.out.print(secret, markup=False)
        shown.err.print(f"{words}: `keyfuse keys show {prepared.ask.request_id}`", markup=False)
    return 1


def _tell(key: KeyRecord, secret: str, shown: Shown, words: str) -> None:
    if shown.as_json:
        told = {"key_id": key.key_id, "request_id": key.request_id, "state": key.state, "detail": standing_words(key)}
        shown.out.print(json.dumps(told | ({"key": secret} if secret else {})), markup=False)
        return
    if secret:
        shown.out.print(secret, markup=False)
    shown.err.print(f"{words}\n{key.key_id}: {standing_words(key)}", markup=False)
    if key.state == "pending" and key.kind == "provider":
        shown.err.print(f"it is made then: `keyfuse keys collect {key.request_id}` shows it, here", markup=False)
    elif key.state == "pending":
        shown.err.print(f"it is refused everywhere until then: `keyfuse keys show {key.key_id}`", markup=False)


def _open(config: Path, name: str) -> tuple[Install, Registry]:
    """Who asks about a key by its secret is told so before anybody else sees it."""
    if looks_secret(name):
        raise UserError("this looks like the secret itself; name the key as `keyfuse keys list` shows it")
    install = Install.open(config)
    return install, registry_of(install)


def _find(registry: Registry, name: str) -> KeyRecord:
    key = registry.entry(name) or registry.asked_for(name)
    if key is None:
        raise UserError(_unknown(name))
    return key


def _unknown(name: str) -> str:
    return f"nothing is known of a key or request {name}; `keyfuse keys list` shows what there is"


def _value(field: str, value: object) -> str:
    if field.endswith("_ms") and isinstance(value, int):
        return rfc3339(value)[:19].replace("T", " ") + " UTC"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _all_wrong(problems: list[Problem]) -> str:
    """Each with the option that mends it, all at once."""
    lines = [f"--{_OPTION.get(each.field, each.field).replace('_', '-')}: {each.words}" for each in problems]
    return lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} things to mend", *lines])
