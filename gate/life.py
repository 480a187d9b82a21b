"""What a key's life says: not known, not yet approved, replaced, expired, disabled."""

from __future__ import annotations

from typing import Final, Literal

from schemas.call import ALLOW, Ruling
from schemas.key_record import SERVED, KeyRecord, LifeState
from schemas.records import rfc3339

_WHY: Final[dict[LifeState, str]] = {
    "pending": "it waits for its approver: `keyfuse keys show` says for whom",
    "disabled": "it is disabled: ask its owner",
    "retired": "it was replaced or has ended: use its successor, or request a new one",
    "refused": "it was not approved",
}


def by_life(entry: KeyRecord | None, at_ms: int, *, unknown: Literal["allow", "deny"]) -> Ruling:
    """Deny what is not served, in words that say what to do."""
    if entry is None:
        if unknown == "allow":
            return ALLOW
        words = "nobody has registered this key: add it to keys.yaml, or request one with `keyfuse keys request`"
        return Ruling("deny", "gate.unknown_keys", words)
    if entry.served(at_ms):
        return ALLOW
    return Ruling("deny", f"life of the key: {entry.state}", _words(entry, at_ms))


def _words(entry: KeyRecord, at_ms: int) -> str:
    if entry.state not in SERVED:
        return f"{_WHY[entry.state]} ({_whose(entry)})"
    if entry.valid_until_ms is not None and at_ms >= entry.valid_until_ms:
        return f"it was replaced by {entry.replaced_by}, and refused since {rfc3339(entry.valid_until_ms)}"
    return f"it expired at {rfc3339(entry.expires_ms or at_ms)}: request a new one ({_whose(entry)})"


def _whose(entry: KeyRecord) -> str:
    return f"owner {entry.owner}" if entry.owner else f"team {entry.team}"
