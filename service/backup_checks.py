"""What can be wrong with a backup and with where its users are told, each mistake with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from containment.switches.build import PLACED
from schemas.config.keys import KeyConfig, PlaceConfig
from schemas.config.wiring import SwitchConfig
from service.config_errors import ConfigError, Loc, did_you_mean, shown
from service.yaml_source import Source

Errors = Iterator[ConfigError]
_UNKNOWN: Final = "unknown"  # the environment that nobody wrote
_VAULT_PATH: Final = re.compile(r"[^/\s]+(?:/[^/\s]+)*")
_AWS_LABEL: Final = re.compile(r"(?!AWS)[\w+=.@!-]{1,256}", re.ASCII)
_FORMS: Final = {  # by kind: of the secret that is read, and of where the backup's value lies
    "vault": (
        (_VAULT_PATH, "the path of the secret that is read, like shop/openai"),
        (_VAULT_PATH, "the path of another secret, which holds the backup's value"),
    ),
    "aws_secrets": (
        (re.compile(r"\S{1,2048}"), "the name or ARN of the secret that is read"),
        (_AWS_LABEL, "a staging label of your own on the version that holds the backup's value, like BACKUP"),
    ),
}


def check_backups(source: Source, keys: tuple[KeyConfig, ...], switches: Mapping[str, SwitchConfig]) -> Errors:
    """Of every key."""
    by_id = {key.key_id: key for key in keys}
    for number, key in enumerate(keys):
        loc: Loc = ("keys", number)
        if key.backup:
            wrong = _wrong_backup(key, by_id)
            if wrong:
                yield source.error((*loc, "backup"), *wrong)
        elif key.switch:
            yield source.error((*loc, "switch"), "places to tell", "a `backup` that users are told to go on with, too")
        yield from _places(source, (*loc, "switch"), key.switch, switches)


def _wrong_backup(key: KeyConfig, by_id: Mapping[str, KeyConfig]) -> tuple[str, str] | None:
    """What was found and what is expected; None when nothing is wrong."""
    backup = by_id.get(key.backup)
    if key.backup == key.key_id:
        return "the key itself", "the key_id of another key"
    if backup is None:
        others = [key_id for key_id in by_id if key_id != key.key_id]
        return shown(key.backup), f"a key of this file; {did_you_mean(key.backup, others, otherwise='there are:')}"
    if (key.provider, key.provider_ref or key.key_id) == (backup.provider, backup.provider_ref or backup.key_id):
        return f"{shown(key.backup)}, which is the same credential", "a key with a provider_ref of its own"
    if key.env != backup.env and _UNKNOWN not in (key.env, backup.env):
        return f"{shown(key.backup)} of {shown(backup.env)}", f"a key of the same environment, {shown(key.env)}"
    way = _way_back(key, by_id)
    if way:
        return f"a circle: {' → '.join(way)}", "backups that do not lead back to the key"
    return None


def _way_back(key: KeyConfig, by_id: Mapping[str, KeyConfig]) -> list[str]:
    """From the key over its backups to itself; empty where they do not lead there."""
    way, here = [key.key_id], by_id.get(key.backup)
    while here is not None and here.key_id not in way:
        way.append(here.key_id)
        here = by_id.get(here.backup)
    return [*way, key.key_id] if here is key else []


def _places(source: Source, loc: Loc, places: tuple[PlaceConfig, ...], switches: Mapping[str, SwitchConfig]) -> Errors:
    seen: set[tuple[str, str]] = set()
    for number, place in enumerate(places):
        here = (*loc, number)
        if place.at not in switches:
            known = did_you_mean(place.at, switches, otherwise="there are:")
            yield source.error((*here, "at"), shown(place.at), f"a name from `switches` in keyfuse.yaml; {known}")
        elif (place.at, place.secret) in seen:
            yield source.error((*here, "secret"), f"{shown(place.secret)} again", "each place once")
        else:
            yield from _place(source, here, place, switches[place.at].kind)
        seen.add((place.at, place.secret))


def _place(source: Source, loc: Loc, place: PlaceConfig, kind: str) -> Errors:
    if kind not in PLACED:
        for name, value in (("secret", place.secret), ("standby", place.standby)):
            if value:
                yield source.error((*loc, name), shown(value), f"nothing: {kind} is told the key_ids")
        return
    (secret, secret_words), (standby, standby_words) = _FORMS[kind]
    if not secret.fullmatch(place.secret):
        yield source.error((*loc, "secret"), shown(place.secret or None), secret_words)
    if not standby.fullmatch(place.standby) or place.standby == place.secret:
        yield source.error((*loc, "standby"), shown(place.standby or None), standby_words)
