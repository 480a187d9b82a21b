"""Whose each key was from when on, as the view `costs` shares out what was spent. Blocking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from controls.registry import NEVER_USED
from schemas.key_record import KeyRecord
from storage.rows import time_of
from storage.store import Store

_OWNED: Final = ("team", "app", "env", "owner")


def write_owners(store: Store, entries: Mapping[str, KeyRecord], *, now_ms: int) -> int:
    """Write down the keys whose owner is not what the store has as the newest; how many these were.

    A key that the store does not know gets its owner for all the time before as well. One that is registered no more
    keeps its last owner.
    """
    known = {
        row[0]: tuple(row[1:])
        for row in store.connection.rows(
            "SELECT key_id, argMax(team, since), argMax(app, since), argMax(env, since), argMax(owner, since)"
            " FROM key_owners GROUP BY key_id"
        )
    }
    rows = []
    for key_id, entry in entries.items():
        owned = tuple(getattr(entry, name) for name in _OWNED)
        if entry.state not in NEVER_USED and known.get(key_id) != owned:
            since = time_of(now_ms if key_id in known else 0)
            rows.append({"key_id": key_id, "since": since} | dict(zip(_OWNED, owned, strict=True)))
    store.insert_records("key_owners", rows)
    return len(rows)


def last_uses(store: Store, key_ids: Sequence[str]) -> dict[str, int]:
    """When each of these was last used (ms), as far as the hourly rollup goes back."""
    rows = store.connection.rows(
        "SELECT key_id, toUnixTimestamp64Milli(max(u.last_seen)) FROM usage_hour AS u"
        " WHERE key_id IN {keys:Array(String)} GROUP BY key_id",
        {"keys": list(key_ids)},
    )
    return {str(key_id): int(at_ms) for key_id, at_ms in rows}


def registered_since(store: Store) -> dict[str, int]:
    """When each key's first owner was written down (ms)."""
    rows = store.connection.rows(
        "SELECT key_id, toUnixTimestamp64Milli(min(written_at)) FROM key_owners GROUP BY key_id"
    )
    return {str(key_id): int(at_ms) for key_id, at_ms in rows}
