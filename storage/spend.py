"""Stored usage as sums by key and time: what budgets begin with where nothing else remembers."""

from __future__ import annotations

from schemas.event import app_of
from schemas.spend import SLOT_S, SpendSum
from storage.store import Store

_SUMS = """
SELECT if(ts >= fromUnixTimestamp64Milli({fine:Int64}), intDiv(toUnixTimestamp(ts), {slot:Int64}),
          intDiv(toUnixTimestamp(ts), 3600) * intDiv(3600, {slot:Int64})) AS slot,
       key_id, team, app, env, sum(requests), sum(input_tokens + output_tokens), sum(cost_nano_usd)
FROM usage_events FINAL
WHERE ts >= fromUnixTimestamp64Milli({since:Int64})
GROUP BY slot, key_id, team, app, env
"""


def spend_since(store: Store, since_ms: int, *, fine_ms: int) -> list[SpendSum]:
    """Each event once, by the hour that it is dated in; from `fine_ms` on by five minutes."""
    rows = store.connection.rows(_SUMS, {"since": since_ms, "fine": fine_ms, "slot": SLOT_S})
    return [
        SpendSum(
            0, int(slot), key_id, team or "unknown", app_of(app or "unknown"), env or "unknown", int(requests),
            int(tokens), int(nano_usd), int(slot) * SLOT_S * 1000,
        )
        for slot, key_id, team, app, env, requests, tokens, nano_usd in rows
    ]  # fmt: skip
