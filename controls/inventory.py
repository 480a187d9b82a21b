"""What a provider says about its keys, against what is registered: which are new, gone, changed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from schemas.key_record import SERVED, KeyRecord
from schemas.records import rfc3339

_ENVS: Final[Mapping[str, str]] = {
    "prod": "prod", "production": "prod", "live": "prod", "staging": "staging", "stage": "staging", "stg": "staging",
    "dev": "dev", "development": "dev", "sandbox": "sandbox", "test": "test", "testing": "test",
}  # fmt: skip
_WORD: Final = re.compile(r"[a-z]+")


class Listed(NamedTuple):
    """One key as its provider lists it. Never a secret: at most its last characters, as the provider shows them."""

    provider_ref: str  # in the form that `keys.yaml` has
    key_id: str  # the provider's public id of the key
    name: str  # as people called it there
    place: str = ""  # project, workspace, team or user it belongs to, by name where there is one
    owner: str = ""  # as the provider knows them: mostly an address
    active: bool = True
    created_ms: int | None = None
    expires_ms: int | None = None
    used_ms: int | None = None  # last used, as far as the provider says
    hint: str = ""  # a few characters of the secret, as the provider shows them


class Changed(NamedTuple):
    """A registered key about which the provider says something else."""

    key_id: str
    provider_ref: str
    what: tuple[str, ...]  # each a sentence


class Inventoried(NamedTuple):
    """The two compared."""

    new: tuple[Listed, ...] = ()
    resting: tuple[Listed, ...] = ()  # not registered, and disabled there: nobody can use them
    gone: tuple[KeyRecord, ...] = ()
    changed: tuple[Changed, ...] = ()
    same: int = 0


def compare(listed: Iterable[Listed], registered: Iterable[KeyRecord], *, provider: str) -> Inventoried:
    """Keys are the same by `provider_ref`, else by `key_id`, else by the last part of a reference that moved.

    Only keys of this provider are looked at; keys of Keyfuse's own (`virtual`) are no provider's.
    """
    entries = [entry for entry in registered if entry.provider == provider and entry.kind != "virtual"]
    by_ref = {entry.provider_ref: entry for entry in entries if entry.provider_ref}
    by_id = {entry.key_id: entry for entry in entries}
    by_tail = {_tail(entry.provider_ref): entry for entry in entries if entry.provider_ref}
    new: list[Listed] = []
    resting: list[Listed] = []
    changed: list[Changed] = []
    found: set[str] = set()
    for key in sorted(set(listed)):
        entry = by_ref.get(key.provider_ref) or by_id.get(key.key_id) or by_tail.get(_tail(key.provider_ref))
        if entry is None:
            (new if key.active else resting).append(key)
            continue
        found.add(entry.key_id)
        what = tuple(_differences(key, entry))
        if what:
            changed.append(Changed(entry.key_id, key.provider_ref, what))
    gone = [entry for entry in entries if entry.key_id not in found and entry.state in SERVED and _of_one_key(entry)]
    return Inventoried(tuple(new), tuple(resting), tuple(gone), tuple(changed), len(found) - len(changed))


def env_of(key: Listed) -> str:
    """The environment that its names speak of; empty where they name none, or several.

    >>> env_of(Listed("r", "k", "checkout", "Shop (production)")), env_of(Listed("r", "k", "dev and prod"))
    ('prod', '')
    """
    words = _WORD.findall(f"{key.name} {key.place}".lower())
    found = {_ENVS[word] for word in words if word in _ENVS}
    return found.pop() if len(found) == 1 else ""


def _tail(ref: str) -> str:
    return ref.rsplit("/", 1)[-1]


def _of_one_key(entry: KeyRecord) -> bool:
    """Whether the reference names one key: whole service accounts, users and roles are in no list of keys."""
    parts = (entry.provider_ref or "").split("/")
    return bool(entry.provider_ref) and not (len(parts) > 1 and parts[-2] in {"sa", "user", "role"})


def _differences(key: Listed, entry: KeyRecord) -> Iterable[str]:
    if not key.active and entry.state in SERVED:
        yield "disabled or expired at the provider, registered as in use"
    if entry.provider_ref is None:
        yield f"registered without provider_ref; it is {key.provider_ref}"
    elif entry.provider_ref != key.provider_ref:
        yield f"moved: provider_ref is {key.provider_ref} now, registered as {entry.provider_ref}"
    if key.expires_ms is not None and entry.expires_ms is None:
        yield f"expires at the provider on {rfc3339(key.expires_ms)[:10]}, registered without an end"
    elif key.expires_ms is not None and entry.expires_ms is not None and key.expires_ms < entry.expires_ms:
        yield f"expires at the provider on {rfc3339(key.expires_ms)[:10]}, earlier than registered"
    if key.created_ms is not None and entry.created_ms is None:
        yield f"made on {rfc3339(key.created_ms)[:10]}, registered without that: its rotation cannot be due"
