"""An order is believed when it was signed, as it was signed, by a key that is known; whatever else comes is doubted."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from containment.orders import Doubted, Order, believe, expired, sign
from schemas.audit_chain import canonical
from schemas.records import Command, Doubt, Request
from schemas.signing import Signer, private_key_from
from tests.containment.build import T0_MS, command, facts

DECIDE, STRANGER = (Signer(private_key_from(seed * 32)) for seed in (b"d", b"s"))
KEYS = frozenset({DECIDE.public_key})
CUT = sign(command(facts=facts(provider_ref="ref"), approvals=("ann",)), DECIDE, now_ms=T0_MS)
FREEZE = sign(Request(request_id="r1", at_ms=T0_MS, by="ann", action="freeze", reason="é"), DECIDE, now_ms=T0_MS)


def rule(value: bytes) -> str:
    answer = believe(value, public_keys=KEYS)
    return answer.rule if isinstance(answer, Doubted) else "believed"


def doc(order: Order, **changes: Any) -> bytes:
    return orjson.dumps(orjson.loads(order.to_bytes()) | changes)


@pytest.mark.parametrize("order", [CUT, FREEZE])
def test_what_decide_signed_is_believed_and_is_what_it_was(order: Order) -> None:
    assert believe(order.to_bytes(), public_keys=KEYS) == order
    assert order.signed_at_ms == T0_MS


@pytest.mark.parametrize("order", [CUT, FREEZE], ids=["command", "request"])
def test_no_field_can_be_changed_afterwards(order: Order) -> None:
    others: dict[str, Any] = {
        "step": "revoke", "action": "unfreeze", "automatic": False, "reversible": False, "mode": "observe",
        "approvals": [], "facts": {"provider": "other"}, "at_ms": 1, "signed_at_ms": 2, "via": "slack", "until_ms": 3,
        "signature": "0" * 128, "signed_by": STRANGER.public_key,
    }  # fmt: skip
    fields = orjson.loads(order.to_bytes()).keys() - {"type"}
    for name in fields:
        changed = others.get(name, "another") if name != "step" or order is CUT else "disable"
        assert rule(doc(order, **{name: changed})) in {"bad_signature", "unknown_signer"}, name


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (command().to_bytes(), "unsigned"),
        (doc(CUT, signature=""), "unsigned"),
        (doc(CUT, signed_by=""), "unsigned"),
        (sign(CUT, STRANGER, now_ms=T0_MS).to_bytes(), "unknown_signer"),
        (doc(sign(CUT, STRANGER, now_ms=T0_MS), signed_by=DECIDE.public_key), "bad_signature"),
        (doc(CUT, signature="not hexadecimal"), "bad_signature"),
        (doc(CUT, signature=FREEZE.signature), "bad_signature"),
        (b"", "unreadable"),
        (b"{", "unreadable"),
        (b"\xff\xfe", "unreadable"),
        (b"[1]", "unreadable"),
        (b'{"type":"command"}', "unreadable"),
        (doc(CUT, a_field_of_the_future=1), "unreadable"),
        (doc(CUT, key_id="\ud800".encode("utf-8", "surrogatepass").decode("latin-1")), "bad_signature"),
        (b'{"type":"command","facts":' + b"[" * 100_000, "unreadable"),
        (sign(Request(request_id="r", at_ms=1, by="ann", action="contain"), DECIDE, now_ms=1).to_bytes(), "unreadable"),
    ],
)
def test_what_is_doubted_has_its_rule(value: bytes, expected: Doubt) -> None:
    assert rule(value) == expected


def test_a_field_said_twice_is_read_as_it_was_verified() -> None:
    """Two parsers may choose differently; what acts is what the signature was checked over."""
    twice = CUT.to_bytes().replace(b'"step":"disable"', b'"step":"revoke","step":"disable"')
    order = believe(twice, public_keys=KEYS)
    assert order == CUT


def test_an_older_version_that_lacks_a_field_signs_what_it_has() -> None:
    said = {
        name: value for name, value in orjson.loads(CUT.to_bytes()).items() if name not in {"approvals", "signature"}
    }
    signature = DECIDE.sign(canonical({**said, "signature": ""}))
    order = believe(orjson.dumps({**said, "signature": signature}), public_keys=KEYS)
    assert isinstance(order, Command)
    assert order.approvals == ()


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_break_it(value: bytes) -> None:
    assert rule(value) == "unreadable"


@given(st.integers(0, len(CUT.to_bytes()) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_never_believed_as_something_else(at: int, flip: int) -> None:
    value = bytearray(CUT.to_bytes())
    value[at] ^= flip
    answer = believe(bytes(value), public_keys=KEYS)
    assert isinstance(answer, Doubted) or answer == CUT  # hexadecimal may be written in capitals


@pytest.mark.parametrize(("age_s", "too_old"), [(0, False), (60, False), (61, True), (86_400, True), (-7200, False)])
def test_an_order_grows_old_by_the_clock_of_who_carries_it_out(age_s: int, too_old: bool) -> None:
    doubted = expired(CUT, now_ms=T0_MS + age_s * 1000, max_age_s=60)
    assert (doubted is not None) == too_old
    if doubted is not None:
        assert (doubted.rule, doubted.claim) == ("expired", CUT)
        assert "commands.max_age_s" in doubted.words


def test_several_keys_are_believed_while_one_is_changed_for_another() -> None:
    both = KEYS | {STRANGER.public_key}
    for signer in (DECIDE, STRANGER):
        assert not isinstance(believe(sign(CUT, signer, now_ms=1).to_bytes(), public_keys=both), Doubted)
