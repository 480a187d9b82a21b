"""What was written down for those who come later: configuration that was in force, learned state. Blocking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.evidence import ConfigInForce, ConfigText, KeyState
from storage.store import Store

_WORDS_MOST: Final = 100_000


def config_words(store: Store, until_ms: int) -> list[ConfigInForce]:
    """Which configuration each worker followed from when on, oldest first, up to before `until_ms`."""
    rows = store.connection.rows(
        "SELECT record FROM config_in_force FINAL WHERE at < fromUnixTimestamp64Milli({until:Int64})"
        " ORDER BY at DESC, worker LIMIT {most:UInt32}",
        {"until": until_ms, "most": _WORDS_MOST},
    )
    return [ConfigInForce.from_bytes(row[0].encode()) for row in reversed(rows)]


def config_texts(store: Store, digests: Sequence[str]) -> dict[str, ConfigText]:
    """By digest, those that are known."""
    rows = store.connection.rows(
        "SELECT record FROM config_texts FINAL WHERE sha256 IN {digests:Array(String)}", {"digests": list(digests)}
    )
    texts = [ConfigText.from_bytes(row[0].encode()) for row in rows]
    return {text.sha256: text for text in texts}


def key_state(store: Store, key_id: str, from_ms: int, until_ms: int) -> KeyState | None:
    """The newest state of a key that was written down within [from_ms, until_ms]."""
    rows = store.connection.rows(
        "SELECT record FROM key_states FINAL WHERE key_id = {key:String}"
        " AND at >= fromUnixTimestamp64Milli({since:Int64}) AND at <= fromUnixTimestamp64Milli({until:Int64})"
        " ORDER BY at DESC LIMIT 1",
        {"key": key_id, "since": from_ms, "until": until_ms},
    )
    return KeyState.from_bytes(rows[0][0].encode()) if rows else None
