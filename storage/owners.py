"""Whose each key was from when on, as the view `costs` shares out what was spent. Blocking."""

from __future__ import annotations

from collections.abc import Mapping
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
