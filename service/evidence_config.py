"""Which configuration was in force during an incident, and from when to when. Pure but for the reading."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from schemas.evidence import ConfigInForce
from schemas.records import rfc3339
from service.config_kept import KEYS, part_of, read
from service.config_shown import of_key
from storage.kept import config_texts, config_words
from storage.store import Store


class Period(BaseModel):
    """So long these roles followed one version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_ms: int
    until_ms: int | None  # None: it was still so when this was asked
    roles: tuple[str, ...]
    version: str


class Configs(BaseModel):
    """The versions that were in force in a time, and when each was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    periods: tuple[Period, ...] = ()
    versions: dict[str, dict[str, Any]] = {}  # version -> file -> content; None where it is not known any more
    unknown: tuple[str, ...] = ()  # in words, what nobody wrote down


def configs_of(store: Store, key_id: str, from_ms: int, until_ms: int, *, now_ms: int) -> Configs:
    """In [from_ms, until_ms] by the wall clock; of keys.yaml this key alone."""
    words = config_words(store, now_ms)
    found = tuple(periods(words, from_ms, until_ms))
    files = {word.version: word.files for word in words}
    versions = {each.version: _content(store, key_id, files[each.version]) for each in found}
    return Configs(periods=found, versions=versions, unknown=tuple(_unknown(found, from_ms, versions)))


def periods(words: Iterable[ConfigInForce], from_ms: int, until_ms: int) -> Iterator[Period]:
    """What overlaps [from_ms, until_ms], in the order of time; of a role of which nothing is known then, what it
    followed next: events that come late are judged by that. Roles that changed together stand together.
    """
    by_role: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for word in words:
        for role in word.roles:
            if not by_role[role] or by_role[role][-1][1] != word.version:
                by_role[role].append((word.at_ms, word.version))
    together: dict[tuple[int, int | None, str], list[str]] = defaultdict(list)
    for role, changes in by_role.items():
        for at_ms, end_ms, version in _wanted(changes, from_ms, until_ms):
            together[at_ms, end_ms, version].append(role)
    for (at_ms, end_ms, version), roles in sorted(together.items(), key=lambda item: (item[0][0], item[1])):
        yield Period(from_ms=at_ms, until_ms=end_ms, roles=tuple(sorted(roles)), version=version)


def _wanted(changes: list[tuple[int, str]], from_ms: int, until_ms: int) -> list[tuple[int, int | None, str]]:
    ends: list[int | None] = [*(at_ms for at_ms, _ in changes[1:]), None]
    whole = [(at_ms, end_ms, version) for (at_ms, version), end_ms in zip(changes, ends, strict=True)]
    found = [each for each in whole if each[0] <= until_ms and (each[1] is None or each[1] > from_ms)]
    return found or whole[:1]


def as_json(configs: Configs) -> dict[str, Any]:
    """For people: with times in words."""
    told = [
        {
            "from": rfc3339(each.from_ms), "until": rfc3339(each.until_ms) if each.until_ms is not None else None,
            "roles": each.roles, "version": each.version,
        }
        for each in configs.periods
    ]  # fmt: skip
    return {"periods": told, "unknown": configs.unknown, "versions": configs.versions}


def _content(store: Store, key_id: str, files: Mapping[str, str]) -> dict[str, Any]:
    mine = {name: digest for name, digest in files.items() if "/" not in name or name == part_of(key_id)}
    texts = config_texts(store, list(mine.values()))
    told = {name: read(texts[digest]) if digest in texts else None for name, digest in mine.items()}
    keys, rest = told.pop(part_of(key_id), []), told.get(KEYS)
    if not isinstance(rest, dict):
        return told
    return of_key({**told, KEYS: {**rest, "keys": keys or []}}, key_id)


def _unknown(found: tuple[Period, ...], from_ms: int, versions: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if not found:
        yield "Which configuration was in force then is not known: no worker had written it down."
    late: dict[int, list[str]] = defaultdict(list)
    for role in sorted({role for each in found for role in each.roles}):
        first_ms = min(each.from_ms for each in found if role in each.roles)
        if first_ms > from_ms:
            late[first_ms].append(role)
    for first_ms, roles in sorted(late.items()):
        which = f"the roles {', '.join(roles)}" if len(roles) > 1 else f"the role {roles[0]}"
        yield f"What {which} followed before {rfc3339(first_ms)} is not known."
    for version, files in versions.items():
        for name, content in files.items():
            if content is None:
                yield f"{name} of {version} was too large to be kept, or its text is not in the store."
