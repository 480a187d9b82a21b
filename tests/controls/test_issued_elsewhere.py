"""A provider's credential from the wish to the key: ordered once, named when it is made, refused when it cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from controls.desks import Told
from controls.issued_elsewhere import AGAIN_MS
from controls.issuing import DAY_MS
from schemas.config.keys import IssueRule
from schemas.minting import Minted, MintOrder
from tests.controls.asks import SEAL_TO, T0, ask, fingerprint
from tests.controls.test_issuing import PEOPLE, Office

WISH: dict[str, Any] = {"kind": "provider", "provider": "openai", "place": "proj_1", "quota_usd_per_day": 4}
INSTANT = {"dev": IssueRule(instant=True, provider_instant=True, expires_days=30)}


def made(number: int = 1, **changes: Any) -> Minted:
    fields = {
        "request_id": f"r{number}", "at_ms": T0, "key_id": fingerprint(77), "provider_ref": "proj_1/sa/u",
        "last4": "9z9z", "sealed": "00",
    }  # fmt: skip
    return Minted(**{**fields, **changes})


def hear(office: Office, minted: Minted) -> Told:
    told = office.desk.take(minted, office.state, office.now_ms)
    office.state.take(told)
    return told


def test_where_nobody_is_asked_it_is_ordered_at_once() -> None:
    office = Office(envs=INSTANT)
    told = office.take(ask(**WISH))
    assert told.orders == (
        MintOrder(
            request_id="r1", key_id="ask:r1", at_ms=T0, by="ann", provider="openai", place="proj_1",
            name="keyfuse-search-ranker-dev-r1", usd_per_day=4, expires_ms=T0 + 30 * DAY_MS, seal_to=SEAL_TO,
        ),
    )  # fmt: skip
    assert office.key().state == "pending"
    assert not told.questions
    assert not office.take(ask(**WISH))


def test_else_once_an_approver_says_yes_and_never_twice() -> None:
    office = Office(people=PEOPLE)
    assert not office.take(ask(**WISH)).orders
    office.now_ms += DAY_MS
    told = office.answer()
    assert [(order.by, order.expires_ms) for order in told.orders] == [("bob", T0 + 31 * DAY_MS)]
    assert (office.key().state, office.key().approved_by) == ("pending", "bob")
    assert not office.answer()
    assert not office.answer("refuse", by="ann").orders


def test_the_key_takes_the_name_that_events_will_have() -> None:
    office = Office(people=PEOPLE)
    office.take(ask(**WISH))
    office.answer()
    told = hear(office, made())
    key = office.key()
    assert (key.key_id, key.state, key.provider_ref, key.last4) == (fingerprint(77), "active", "proj_1/sa/u", "9z9z")
    assert (key.approved_by, key.owner, key.seal_to, key.seq) == ("bob", "ann", "", 1)
    left = office.state.registry.entry("ask:r1")
    assert left is not None
    assert (left.state, left.replaced_by) == ("retired", fingerprint(77))
    assert [row.key_id for row in told.audit] == [fingerprint(77)]
    assert not hear(office, made())


def test_what_cannot_be_made_is_refused_with_the_reason() -> None:
    office = Office(envs=INSTANT)
    office.take(ask(**WISH))
    hear(office, made(error="the admin key lacks the permission (403)", key_id=""))
    assert office.key().change == "refused: it could not be made: the admin key lacks the permission (403)"
    assert office.key().state == "refused"


def test_nobody_takes_a_key_over_by_saying_that_it_was_made() -> None:
    office = Office(envs=INSTANT | {"sandbox": IssueRule(instant=True)})
    office.take(ask(2, env="sandbox"))
    office.take(ask(**WISH))
    hear(office, made(key_id=fingerprint(2)))
    assert office.key().state == "refused"
    assert office.key(2).owner == "ann"
    assert not hear(office, made(2, key_id=fingerprint(9)))


@pytest.mark.parametrize(("provider", "cut"), [("openai", False), ("aws", True)])
def test_a_credential_whose_time_is_over_is_switched_off_where_it_does_not_end_by_itself(
    provider: str, cut: bool
) -> None:
    office = Office(envs=INSTANT, minting={"openai": "openai", "aws": "aws"})
    office.take(ask(**{**WISH, "provider": provider}))
    hear(office, made())
    told = office.later(30)
    assert [key.state for key in told.keys] == ["retired"]
    assert [(order.action, order.key_id, order.by) for order in told.requests] == (
        [("contain", fingerprint(77), "ann")] if cut else []
    )
    assert not office.later(1)


def test_an_issued_key_is_found_by_its_providers_name_and_has_its_backup() -> None:
    office = Office(envs=INSTANT | {"sandbox": IssueRule(instant=True)})
    office.take(ask(2, env="sandbox"))
    office.take(ask(**WISH, backup=fingerprint(2)))
    registry = office.state.registry
    assert registry.named("proj_1") is None
    hear(office, made())
    found, backed = registry.named("proj_1/sa/u"), registry.with_backup(fingerprint(77))
    assert found is not None
    assert found[0] == fingerprint(77)
    assert backed is not None
    assert backed.backup == fingerprint(2)
    assert registry.users_of(fingerprint(2)) == (fingerprint(77),)


def test_an_order_that_nobody_answers_is_given_again() -> None:
    office = Office(envs=INSTANT)
    [first] = office.take(ask(**WISH)).orders
    assert not office.later((AGAIN_MS - 1) / DAY_MS)
    [again] = office.later(1 / DAY_MS).orders
    assert (again.request_id, again.name, again.seal_to) == (first.request_id, first.name, first.seal_to)
    assert not office.later(0)
    hear(office, made())
    assert not office.later(1)
