"""A provider's credential from the order to the key: it has no name of its own before it is made. Pure."""

from __future__ import annotations

from typing import Final

from controls.desks import NOTHING, Told
from controls.registry import Registry
from schemas.key_record import KeyRecord
from schemas.minting import Minted, MintOrder
from schemas.records import AuditRow, Request, stable_id

MAKING: Final = "it is being made"
ENDS_ITSELF: Final = frozenset({"litellm", "openai", "openrouter"})
"""Kinds of providers that were told when the credential ends."""
AGAIN_MS: Final = 900_000
"""So long without an answer, and it is ordered again: an order that was read is answered with what was made then."""


def order_for(key: KeyRecord, now_ms: int) -> MintOrder:
    """The order to make the credential of a key that is approved, or needs nobody."""
    name = f"keyfuse-{key.team}-{key.app}-{key.env}-{key.request_id}"
    return MintOrder(
        request_id=key.request_id, key_id=key.key_id, at_ms=now_ms, by=key.approved_by or key.by,
        provider=key.provider, place=key.provider_ref or "", name=name, usd_per_day=key.quota_usd_per_day,
        expires_ms=key.expires_ms, seal_to=key.seal_to,
    )  # fmt: skip


def cut_for(key: KeyRecord) -> Request:
    """The order to switch a credential off whose time is over: whoever granted it granted it for so long."""
    return Request(
        request_id=stable_id("end", key.key_id, key.seq), at_ms=key.at_ms, by=key.approved_by or key.owner,
        action="contain", key_id=key.key_id, via="identity", alone=True, facts=key.facts(), reason="its time is over",
    )  # fmt: skip


def minted(message: Minted, registry: Registry, now_ms: int) -> Told:
    """The key takes the name that events will call it by; the name it had until then leads to it."""
    asked = registry.asked_for(message.request_id)
    if asked is None or not _is_made(asked):
        return NOTHING
    taken = not message.key_id or registry.entry(message.key_id) is not None
    if message.error or taken:
        why = message.error or "another key goes by its name already"
        refused = asked.next(
            at_ms=now_ms, by="keyfuse", change=f"refused: it could not be made: {why}", state="refused"
        )
        return Told(keys=(refused,), audit=(life_row(refused),))
    made = asked.model_copy(
        update={
            "key_id": message.key_id, "seq": 1, "at_ms": now_ms, "by": asked.approved_by or asked.by,
            "change": f"made at {asked.provider}, as {asked.key_id} asked", "state": "active",
            "provider_ref": message.provider_ref, "last4": message.last4, "rotated_ms": now_ms, "seal_to": "",
        }
    )  # fmt: skip
    left = asked.next(
        at_ms=now_ms, by="keyfuse", change=f"made: it goes by {made.key_id} from now on", state="retired",
        replaced_by=made.key_id, seal_to="",
    )  # fmt: skip
    return Told(keys=(left, made), audit=(life_row(made),))


def made_again(key: KeyRecord, now_ms: int) -> Told | None:
    """What was ordered a while ago and not answered is ordered again."""
    if not _is_made(key) or now_ms - key.at_ms < AGAIN_MS:
        return None
    again = key.next(at_ms=now_ms, by="keyfuse", change=f"nobody answered, ordered again; {MAKING}")
    return Told(keys=(again,), orders=(order_for(again, now_ms),))


def _is_made(key: KeyRecord) -> bool:
    return key.state == "pending" and key.kind == "provider" and key.change.endswith(MAKING)


def life_row(key: KeyRecord) -> AuditRow:
    """What the audit keeps of a change that nobody asked for in a message of its own."""
    return AuditRow(
        audit_id=stable_id("aud", "key", key.key_id, key.seq), at_ms=key.at_ms, actor=key.by, action=f"key_{key.state}",
        key_id=key.key_id, incident_id="", command_id="", result="done", detail={"why": key.change},
    )  # fmt: skip
