"""Rotation: when a key's secret is due to be changed, what a change does, and when the old one is proved to be refused.

Pure. The old key is served beside the new one until the overlap is over; then its refusal is ordered, and only what
contain has read back and tried ends it. Each rotation that ended is one row of evidence.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from controls.desks import NOTHING, IdentityState, Told
from controls.issued_elsewhere import MAKING, order_for
from controls.owners import may_act
from controls.slices import slice_of
from schemas.config.keys import KeysConfig
from schemas.key_record import UNMADE, KeyRecord, LifeState
from schemas.life import RefusedByHand, RotateKey, RotationEvidence
from schemas.records import Outcome, Request, StepState, stable_id

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
AGAIN_MS: Final = DAY_MS  # an old key that is not proved to be refused is ordered to be refused again after this
LIVE: Final[frozenset[LifeState]] = frozenset({"active", "throttled"})
_REMEMBERED: Final = 1000
CUTS: Final = frozenset({"block", "disable", "revoke"})


class Due(NamedTuple):
    """When a secret must have been changed, and why."""

    at_ms: int
    why: str


def due_ms(entry: KeyRecord) -> int | None:
    """When its secret must have been changed; 0 where nobody knows when it was last, None where it need not be."""
    by_ms, days = entry.rotate_by_ms, entry.rotate_every_days
    if (by_ms is None and days is None) or entry.state not in LIVE:
        return None
    if days is None:
        return by_ms
    since_ms = entry.rotated_ms or entry.created_ms
    every_ms = since_ms + round(days * DAY_MS) if since_ms is not None else 0
    return every_ms if by_ms is None else min(by_ms, every_ms)


def due_of(entry: KeyRecord) -> Due | None:
    """None where it has no schedule, and nobody who should not know its secret does."""
    at_ms = due_ms(entry)
    if at_ms is None:
        return None
    if at_ms == entry.rotate_by_ms:
        return Due(at_ms, "somebody who does not answer for it any more knows its secret")
    every = f"due every {entry.rotate_every_days:g} days"
    unknown = "" if at_ms else ", and nobody knows when it was changed last: keys.yaml says so by `rotated`"
    return Due(at_ms, f"{every}{unknown}")


def why_no_rotation(ask: RotateKey, state: IdentityState) -> str:
    """Why the new secret may not take over; empty when it may."""
    entry, new = state.registry.entry(ask.key_id), state.registry.entry(ask.new_key_id)
    if entry is None:
        return f"no key {ask.key_id} is registered"
    after = f" by {entry.replaced_by}" if entry.replaced_by else ""
    throttled = "it is throttled because its owner did not answer: answer the question first (`keyfuse questions`)"
    taken = new is not None and (new.kind != "registered" or new.state != "active" or bool(new.replaces))
    reasons = (
        (entry.state not in LIVE, f"it is {entry.state}{after}: only a key in use can be rotated"),
        (entry.state == "throttled", throttled),
        (not ask.new_key_id and not (ask.seal_to and entry.kind == "provider"), "it does not say what takes over"),
        (
            _again_too_soon(ask, entry, state),
            "its secret was changed within a day, and each new one has a quota of its "
            "own for the day: an approver may change it again",
        ),
        (ask.new_key_id == ask.key_id, "the new secret is the old one"),
        (taken, f"{ask.new_key_id} is a key of its own already"),
        (new is not None and entry.kind != "registered", f"{ask.new_key_id} is in keys.yaml, and no virtual key"),
    )
    return may_act(ask.by, entry, state.people) or next((words for so, words in reasons if so), "")


def _again_too_soon(ask: RotateKey, entry: KeyRecord, state: IdentityState) -> bool:
    """A quota of a day must not be had as often as its owner likes."""
    if entry.quota_usd_per_day is None or not entry.replaces or ask.at_ms - (entry.rotated_ms or 0) >= DAY_MS:
        return False
    return bool(may_act(ask.by, entry.model_copy(update={"owner": ""}), state.people))


def rotate(ask: RotateKey, state: IdentityState, config: KeysConfig, now_ms: int) -> Told:
    """Both versions: the new key takes over, the old one is served until the overlap is over."""
    entry = state.registry.entry(ask.key_id)
    assert entry is not None  # noqa: S101 - why_no_rotation looked
    if not ask.new_key_id:
        return _made_by_provider(ask, entry, now_ms)
    overlap_h = config.issuing.overlap_h if ask.overlap_h is None else ask.overlap_h
    registered = state.registry.entry(ask.new_key_id)
    base = registered or entry.model_copy(
        update={"key_id": ask.new_key_id, "seq": -1, "provider_ref": None, "last4": ask.last4}
    )
    because = f": {ask.reason}" if ask.reason else ""
    new = base.model_copy(
        update={
            "seq": base.seq + 1, "at_ms": now_ms, "by": ask.by, "change": f"takes over from {ask.key_id}{because}",
            "state": "active", "replaces": ask.key_id, "owner": entry.owner, "rotated_ms": now_ms,
            "created_ms": base.created_ms if registered else now_ms, "rotate_by_ms": None,
            "request_id": ask.request_id, "formerly": _line_of(entry),
        }
    )  # fmt: skip
    return Told(keys=(new, _replaced(entry, new, ask.by, overlap_h, now_ms)))


def _line_of(entry: KeyRecord) -> tuple[str, ...]:
    """What the successor is known by as well: policies and exceptions that name a key hold for whoever takes over."""
    return (*entry.formerly, entry.key_id)[-_REMEMBERED:]


def _replaced(entry: KeyRecord, new: KeyRecord, by: str, overlap_h: float, now_ms: int) -> KeyRecord:
    until_ms = now_ms + round(overlap_h * HOUR_MS)
    return entry.next(
        at_ms=now_ms, by=by, change=f"replaced by {new.key_id}; served for another {overlap_h:g} h", state="retiring",
        replaced_by=new.key_id, valid_until_ms=min(until_ms, entry.expires_ms or until_ms), rotated_by=by,
    )  # fmt: skip


def _made_by_provider(ask: RotateKey, entry: KeyRecord, now_ms: int) -> Told:
    """The successor is ordered like any credential; the old one goes on until it is made: see `successions`."""
    because = f": {ask.reason}" if ask.reason else ""
    asked = entry.model_copy(
        update={
            "key_id": f"{UNMADE}{ask.request_id}", "seq": 1, "at_ms": now_ms, "by": ask.by, "state": "pending",
            "change": f"to take over from {entry.key_id}{because}; {MAKING}", "replaces": entry.key_id,
            "provider_ref": place_of(entry.provider_ref), "request_id": ask.request_id, "seal_to": ask.seal_to,
            "formerly": _line_of(entry), "approved_by": ask.by, "last4": "", "created_ms": now_ms, "rotate_by_ms": None,
        }
    )  # fmt: skip
    return Told(keys=(asked,), orders=(order_for(asked, now_ms),))


def place_of(provider_ref: str | None) -> str | None:
    """Where its provider made a credential, and makes the next: the project, or the user.

    >>> place_of("proj_1/sa/user-9"), place_of("iam/ranker/AKIA7"), place_of("0f3a")
    ('proj_1', 'ranker', None)
    """
    parts = (provider_ref or "").split("/")
    if parts[0].startswith("proj_"):
        return parts[0]
    return parts[1] if parts[0] == "iam" and len(parts) > 1 else None


def successions(state: IdentityState, config: KeysConfig, now_ms: int) -> Told:
    """Credentials that their provider has made take over from the keys that they were ordered for."""
    entry_of, hours = state.registry.entry, config.issuing.overlap_h
    made = [each for each in slice_of(state.registry.entries(), now_ms) if each.replaces and each.state == "active"]
    return Told(keys=tuple(
        _replaced(old, new, new.approved_by or new.by, hours, now_ms) for new in made
        if (old := entry_of(new.replaces)) is not None and old.state in LIVE and not old.replaced_by
    ))  # fmt: skip


def retirements(state: IdentityState, now_ms: int) -> Told:
    """Old keys whose overlap is over: their refusal is ordered, and again each day until it is proved.

    It is the order of whoever had the key replaced: no mode and no cap holds it up.
    """
    return Told.all_of(
        _order_refusal(entry, now_ms) for entry in slice_of(state.registry.entries(), now_ms)
        if entry.state == "retiring" and entry.valid_until_ms is not None and entry.valid_until_ms <= now_ms
        and (entry.retire_asked_ms is None or now_ms - entry.retire_asked_ms >= AGAIN_MS)
    )  # fmt: skip


def _order_refusal(entry: KeyRecord, now_ms: int) -> Told:
    order = Request(
        request_id=stable_id("ret", entry.key_id, entry.seq), at_ms=now_ms, by=entry.rotated_by, action="contain",
        key_id=entry.key_id, via="identity", alone=True, facts=entry.facts(),
        reason=f"replaced by {entry.replaced_by}, and the overlap is over",
    )  # fmt: skip
    known = entry.next(
        at_ms=now_ms, by="keyfuse", change="the overlap is over: its refusal is ordered", retire_asked_ms=now_ms
    )
    return Told(keys=(known,), requests=(order,))


def heard(outcome: Outcome, state: IdentityState, now_ms: int) -> Told:
    """What became of an order to refuse an old key; other outcomes are nobody's business here."""
    entry = state.registry.entry(outcome.key_id)
    if entry is None or entry.state != "retiring" or entry.retire_asked_ms is None or outcome.step not in CUTS:
        return NOTHING
    if outcome.state is StepState.CONFIRMED:
        return _proved(entry, outcome, state, now_ms)
    if outcome.state in (StepState.REQUESTED, StepState.IN_FLIGHT):
        return NOTHING
    why = ": ".join(part for part in (outcome.rule, outcome.detail) if part)
    words = f"not proved to be refused, its {outcome.step} is {outcome.state.value.replace('_', ' ')}: {why}"
    return NOTHING if entry.change == words else Told(keys=(entry.next(at_ms=now_ms, by="keyfuse", change=words),))


def why_not_by_hand(ask: RefusedByHand, state: IdentityState) -> str:
    """Why this word does not end a rotation; empty when it does. Its reason is all the proof there is."""
    entry = state.registry.entry(ask.key_id)
    if entry is None or entry.state != "retiring" or entry.retire_asked_ms is None:
        return "it is no old key whose overlap is over"
    return may_act(ask.by, entry, state.people) or ("" if ask.reason else "say how you have seen it: --reason")


def by_hand(ask: RefusedByHand, state: IdentityState, now_ms: int) -> Told:
    entry = state.registry.entry(ask.key_id)
    assert entry is not None  # noqa: S101 - why_not_by_hand looked
    return _ended(
        entry, f"by hand, said {ask.by}, and not tried by Keyfuse: {ask.reason}", "", ask.at_ms, state, now_ms
    )


def _proved(entry: KeyRecord, outcome: Outcome, state: IdentityState, now_ms: int) -> Told:
    taken_s = outcome.seconds_to_effective
    proof = f"{outcome.step} {outcome.state.value}{f' after {taken_s:.1f} s' if taken_s is not None else ''}"
    proof += f": {outcome.detail}" if outcome.detail else ""
    return _ended(entry, proof, outcome.command_id, outcome.at_ms, state, now_ms)


def _ended(entry: KeyRecord, proof: str, command_id: str, at_ms: int, state: IdentityState, now_ms: int) -> Told:
    """The last version of an old key, and the evidence."""
    new = state.registry.entry(entry.replaced_by)
    since_ms = entry.rotated_ms or entry.created_ms
    every_ms = round(entry.rotate_every_days * DAY_MS) if entry.rotate_every_days is not None else None
    until_ms = entry.valid_until_ms or now_ms
    evidence = RotationEvidence(
        old_key_id=entry.key_id, new_key_id=entry.replaced_by, owner=entry.owner, by=entry.rotated_by,
        rotated_at_ms=(new.rotated_ms if new else None) or until_ms,
        due_at_ms=since_ms + every_ms if since_ms is not None and every_ms is not None else None,
        overlap_until_ms=until_ms, refused_at_ms=at_ms, proof=proof, proof_command_id=command_id,
    )  # fmt: skip
    retired = entry.next(at_ms=now_ms, by="keyfuse", change=f"seen to be refused: {proof}", state="retired")
    return Told(keys=(retired,), audit=(evidence.row(),))
