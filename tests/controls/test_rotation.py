"""Rotation: a new secret takes over, both are served meanwhile, and the old one ends when it is seen to be refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controls.issued_elsewhere import minted
from controls.people import NOBODY
from controls.policies import Policies
from controls.rotation import Due, due_of
from schemas.call import Call
from schemas.config.keys import KeyConfig, KeysConfig
from schemas.config.policies import PoliciesConfig, PolicyConfig
from schemas.life import RefusedByHand, RotateKey, RotationEvidence, TransferKey
from schemas.minting import Minted
from schemas.records import Outcome, Step, StepState
from tests.controls.lives import DAY_MS, HOUR_MS, T0_MS, Life, key

WRITTEN = KeysConfig(
    keys=tuple(
        KeyConfig(key_id=name, provider="openai", owner="vera", provider_ref=f"ref-{name}") for name in ("old", "new")
    )
)


def rotation(**changes: Any) -> RotateKey:
    fields = {"request_id": "r1", "by": "vera", "at_ms": T0_MS, "key_id": "k1", "new_key_id": "k2", "last4": "abcd"}
    return RotateKey(**(fields | changes))


def outcome(key_id: str, state: StepState = StepState.CONFIRMED, *, step: Step = "disable", **more: Any) -> Outcome:
    return Outcome(
        command_id="cmd_1", incident_id="manual:x", key_id=key_id, step=step, state=state, at_ms=T0_MS, **more
    )


def test_both_are_served_until_the_overlap_is_over() -> None:
    life = Life(keys=(key(quota_usd_per_day=5.0, expires_ms=T0_MS + 30 * DAY_MS),))
    life.take(rotation(overlap_h=2, reason="quarterly"))
    old, new = life.key("k1"), life.key("k2")
    assert (old.state, old.replaced_by, old.valid_until_ms) == ("retiring", "k2", T0_MS + 2 * HOUR_MS)
    assert (new.state, new.replaces, new.last4, new.rotated_ms, new.owner) == ("active", "k1", "abcd", T0_MS, "vera")
    assert (new.quota_usd_per_day, new.expires_ms) == (5.0, T0_MS + 30 * DAY_MS)  # no longer a life, no larger a quota
    assert (old.served(T0_MS + 2 * HOUR_MS - 1), old.served(T0_MS + 2 * HOUR_MS)) == (True, False)
    assert new.change == "takes over from k1: quarterly"


def test_a_new_secret_is_no_way_out_of_a_policy_that_names_the_key_nor_of_its_exception() -> None:
    life = Life(keys=(key(),))
    life.take(rotation())
    life.take(rotation(request_id="r2", key_id="k2", new_key_id="k3"))
    new = life.key("k3")
    assert new.formerly == ("k1", "k2")
    policies = Policies(PoliciesConfig(policies=(PolicyConfig(name="p", keys=("k1",), allowed_models=("a",)),)))
    assert policies.judge(Call("k3", T0_MS, model="b"), new.facts(), new).rule == "policy p: allowed_models"
    assert policies.forbidden("k3", new.facts(), "b") == "p"
    assert policies.forbidden("k4", key("k4").facts(), "b") is None
    assert "formerly" not in new.facts().model_dump(), "what travels is as before"


@pytest.mark.parametrize(
    ("by", "after_h", "quota", "takes"),
    [("vera", 1, 5.0, False), ("vera", 24, 5.0, True), ("ada", 1, 5.0, True), ("vera", 1, None, True)],
)
def test_a_quota_of_a_day_is_not_had_again_and_again_by_new_secrets(
    by: str, after_h: int, quota: float | None, takes: bool
) -> None:
    life = Life(keys=(key(quota_usd_per_day=quota),))
    life.take(rotation())
    at_ms = T0_MS + after_h * HOUR_MS
    told = life.take(rotation(request_id="r2", key_id="k2", new_key_id="k3", by=by, at_ms=at_ms))
    assert bool(told.keys) == takes
    assert ("changed within a day" in told.audit[0].detail["why"]) != takes


def test_an_old_key_is_not_handed_on_its_successor_is() -> None:
    life = Life(keys=(key(),))
    life.take(rotation())
    told = life.take(TransferKey(request_id="t1", by="vera", at_ms=T0_MS, key_id="k1", to="rosa"))
    assert (told.keys, told.audit[0].detail["why"]) == ((), "k2 takes over from it: transfer that one")


def test_a_key_that_ends_during_the_overlap_is_not_served_longer_and_ends_with_a_proof() -> None:
    life = Life(keys=(key(expires_ms=T0_MS + HOUR_MS),))
    life.take(rotation(overlap_h=24))
    assert life.key("k1").valid_until_ms == T0_MS + HOUR_MS
    life.passes(hours=1)
    life.take(outcome("k1"))
    assert len(life.rows("rotation")) == 1


def test_the_same_wish_again_changes_nothing() -> None:
    life = Life(keys=(key(),))
    life.take(rotation())
    assert not life.take(rotation())
    assert (life.key("k1").seq, life.key("k2").seq) == (2, 0)


def test_a_credential_that_its_provider_makes_takes_over_when_it_is_made() -> None:
    life = Life(keys=(key(kind="provider", provider="openai", provider_ref="proj_1/sa/user-9"),))
    told = life.take(rotation(new_key_id="", seal_to="a" * 64, reason="quarterly"))
    (order,) = told.orders
    assert (order.provider, order.place, order.by, order.seal_to) == ("openai", "proj_1", "vera", "a" * 64)
    assert (life.key("k1").state, life.key("ask:r1").state) == ("active", "pending")
    assert not life.passes(hours=1).keys
    made = Minted(request_id="r1", at_ms=T0_MS, key_id="fp1:new", provider_ref="proj_1/sa/user-10", last4="wxyz")
    life.state.take(minted(made, life.state.registry, life.now_ms))
    assert life.key("fp1:new").state == "active"
    life.passes(hours=1, steps=5)
    old = life.key("k1")
    assert (old.state, old.replaced_by, old.rotated_by) == ("retiring", "fp1:new", "vera")
    assert old.valid_until_ms is not None
    assert 0 < old.valid_until_ms - life.now_ms <= 24 * HOUR_MS
    life.passes(days=1)
    life.take(outcome("k1"))
    assert [row.detail["new_key_id"] for row in life.rows("rotation")] == ["fp1:new"]


def test_what_its_provider_cannot_make_leaves_the_old_one_in_use() -> None:
    life = Life(keys=(key(kind="provider", provider="openai"),))
    life.take(rotation(new_key_id="", seal_to="a" * 64))
    life.state.take(minted(Minted(request_id="r1", at_ms=T0_MS, error="no such project"), life.state.registry, T0_MS))
    life.passes(days=1, steps=3)
    assert (life.key("k1").state, life.key("ask:r1").state) == ("active", "refused")


@pytest.mark.parametrize(
    ("changes", "of_key", "words"),
    [
        ({"new_key_id": ""}, {}, "it does not say what takes over"),
        ({"new_key_id": "", "seal_to": "a" * 64}, {}, "it does not say what takes over"),
        ({"key_id": "k9"}, {}, "no key k9 is registered"),
        ({"by": "eve"}, {}, "eve is not in people.yaml"),
        ({"by": "rosa"}, {}, "rosa is responder; the key is vera's, and it needs approver otherwise"),
        ({"by": ""}, {}, "it does not say who asks"),
        ({"new_key_id": "k1"}, {}, "the new secret is the old one"),
        ({"new_key_id": "k3"}, {}, "k3 is a key of its own already"),
        ({}, {"state": "throttled"}, "it is throttled because its owner did not answer: answer the question first "
         "(`keyfuse questions`)"),
        ({}, {"state": "retiring", "replaced_by": "k3"}, "it is retiring by k3: only a key in use can be rotated"),
        ({}, {"state": "disabled"}, "it is disabled: only a key in use can be rotated"),
    ],
)  # fmt: skip
def test_why_a_secret_may_not_take_over(changes: dict[str, Any], of_key: dict[str, Any], words: str) -> None:
    life = Life(keys=(key(**of_key), key("k3")))
    told = life.take(rotation(**changes))
    assert (told.keys, [row.result for row in told.audit]) == ((), ["refused"])
    assert told.audit[0].detail["why"] == words


@pytest.mark.parametrize("by", ["vera", "ada"])
def test_the_owner_and_an_approver_may(by: str) -> None:
    life = Life(keys=(key(),))
    assert life.take(rotation(by=by)).keys
    assert life.rows("rotate_key")[0].result == "taken"


def test_a_key_of_a_provider_is_replaced_by_one_of_keys_yaml() -> None:
    life = Life(config=WRITTEN, people=NOBODY)
    life.take(rotation(key_id="old", new_key_id="new", overlap_h=1))
    old, new = life.key("old"), life.key("new")
    assert (old.state, new.replaces, new.provider_ref, new.kind) == ("retiring", "old", "ref-new", "registered")
    life.passes(hours=1)
    (order,) = life.requests()
    assert (order.key_id, order.action, order.step, order.via, order.alone) == (
        "old",
        "contain",
        None,
        "identity",
        True,
    )
    assert order.by == "vera"


def test_the_old_one_ends_when_it_is_seen_to_be_refused_and_that_is_evidence() -> None:
    life = Life(keys=(key(rotate_every_days=90.0),))
    life.passes(days=89)
    life.take(rotation())
    assert not life.passes(hours=23.9).requests
    life.passes(hours=0.2)
    life.passes(hours=1, steps=50)  # asked once
    (order,) = life.requests()
    assert (order.key_id, order.facts) == ("k1", life.key("k1").facts())
    assert not life.take(outcome("k1", StepState.IN_FLIGHT))
    life.take(outcome("k1", seconds_to_effective=0.42, detail="refused at 3 of 3 gates"))
    assert life.key("k1").state == "retired"
    (row,) = life.rows("rotation")
    found = RotationEvidence.model_validate(row.detail)
    assert found.proof == "disable confirmed after 0.4 s: refused at 3 of 3 gates"
    assert (found.old_key_id, found.new_key_id, found.by, found.owner) == ("k1", "k2", "vera", "vera")
    assert (found.rotated_at_ms, found.due_at_ms) == (T0_MS + 89 * DAY_MS, T0_MS + 90 * DAY_MS)
    assert not life.take(outcome("k1"))
    assert len(life.rows("rotation")) == 1


@pytest.mark.parametrize("state", [StepState.IRREVOCABLE, StepState.REFUSED, StepState.DRY_RUN])
def test_what_is_not_proved_is_ordered_again_each_day_and_people_are_told(state: StepState) -> None:
    life = Life(keys=(key(),))
    life.take(rotation(overlap_h=0))
    life.passes(hours=0.01)
    told = life.take(outcome("k1", state, rule="frozen", detail="the freeze file exists"))
    assert told.keys[0].change.endswith("frozen: the freeze file exists")
    assert life.key("k1").state == "retiring"
    life.passes(days=3, steps=60)
    assert len(life.requests()) == 4
    (notice,) = life.open("rotation")
    assert (notice.about, notice.to, notice.choices) == ("k1", ("vera",), ())
    life.passes(days=8, steps=8)
    assert set(life.question("rotation").to) == {"vera", "ada", "bo"}
    life.take(outcome("k1"))
    life.passes(hours=1)
    assert life.question("rotation").state == "withdrawn"


def test_outcomes_of_other_keys_and_other_steps_are_nobodys_business_here() -> None:
    life = Life(keys=(key(),))
    life.take(rotation(overlap_h=1))
    for told in (outcome("k1"), outcome("k2"), outcome("k9"), outcome("k1", step="throttle")):
        assert not life.take(told)  # the overlap is not over: an incident may cut it, which proves nothing yet
    life.passes(hours=2)
    assert not life.take(outcome("k1", step="throttle"))


def test_where_keyfuse_cannot_try_it_somebody_may_say_how_they_saw_it() -> None:
    life = Life(config=WRITTEN, people=NOBODY)
    hand = RefusedByHand(request_id="h", by="vera", at_ms=T0_MS, key_id="old", reason="deleted in the console, 401")
    assert life.take(hand).audit[0].detail["why"] == "it is no old key whose overlap is over"
    life.take(rotation(key_id="old", new_key_id="new", overlap_h=0))
    life.passes(hours=1)
    silent = hand.model_copy(update={"request_id": "h2", "reason": ""})
    assert life.take(silent).audit[0].detail["why"] == "say how you have seen it: --reason"
    life.take(hand.model_copy(update={"request_id": "h3"}))
    assert life.key("old").state == "retired"
    assert "by hand, said vera, and not tried by Keyfuse" in life.rows("rotation")[0].detail["proof"]


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, None),
        ({"rotate_every_days": 1.0}, T0_MS + DAY_MS),
        ({"rotate_every_days": 1.0, "rotated_ms": None, "created_ms": None}, 0),
        ({"rotate_every_days": 1.0, "rotated_ms": None}, T0_MS + DAY_MS),
        ({"rotate_by_ms": T0_MS + 5}, T0_MS + 5),
        ({"rotate_every_days": 1.0, "rotate_by_ms": T0_MS + 5}, T0_MS + 5),
        ({"rotate_every_days": 1.0, "state": "retired"}, None),
        ({"rotate_every_days": 1.0, "state": "retiring"}, None),
    ],
)
def test_when_a_secret_is_due(changes: dict[str, Any], due: int | None) -> None:
    found = due_of(key(**changes))
    assert (found.at_ms if isinstance(found, Due) else None) == due


def test_an_owner_is_told_before_then_reminded_then_the_approvers_until_it_is_changed() -> None:
    life = Life(keys=(key(rotate_every_days=30.0),))
    life.passes(days=22.9)
    assert not life.open("rotation")
    life.passes(days=0.2)
    (notice,) = life.open("rotation")
    assert (notice.to, len(notice.reminders)) == (("vera",), 0)
    assert "keyfuse keys rotate k1" in notice.lines["What to do"]
    assert [step.name for step in notice.steps] == ["overdue", "escalate"]
    life.passes(days=6, steps=24)
    assert len(life.question("rotation").reminders) == 0
    life.passes(days=1, steps=24)
    assert [each.words for each in life.question("rotation").reminders] == ["Overdue: change the secret of k1 now."]
    life.passes(days=7, steps=24)
    assert set(life.question("rotation").to) == {"vera", "ada", "bo"}
    life.take(rotation())
    life.passes(hours=1)
    done = life.question("rotation")
    assert (done.state, done.outcome) == ("withdrawn", "Changed by vera: k2 took over.")


def test_a_hundred_overdue_keys_do_not_flood_their_owners() -> None:
    config = KeysConfig.model_validate({"rotation": {"most_per_day": 3}})
    keys = [key(f"k{n}", rotate_every_days=1.0, rotated_ms=None, created_ms=None) for n in range(9)]
    urgent = key("k9", rotate_by_ms=T0_MS, rotate_every_days=1.0, rotated_ms=T0_MS)
    life = Life(config=config, keys=(*keys, urgent))
    life.passes(hours=1, steps=20)
    asked = {each.about for each in life.open("rotation")}
    assert (len(asked), "k9" in asked) == (4, True)
    life.passes(days=1.1)
    assert len(life.open("rotation")) == 7


@settings(max_examples=60, deadline=None)
@given(
    doings=st.lists(
        st.tuples(
            st.sampled_from(["rotate", "wait", "confirm", "fail", "repeat"]), st.integers(0, 3), st.integers(0, 40)
        ),
        max_size=25,
    )
)  # fmt: skip
def test_whatever_happens_one_key_of_a_chain_is_in_use_and_every_rotation_ends_in_one_row(
    doings: list[tuple[str, int, int]],
) -> None:
    life, made = Life(keys=(key("k0"),)), 0
    last = rotation(key_id="k0", new_key_id="k0")
    for doing, which, hours in doings:
        name = f"k{min(which, made)}"
        if doing == "rotate":
            last = rotation(request_id=f"r{made + 1}", key_id=name, new_key_id=f"k{made + 1}", at_ms=life.now_ms)
            made += bool(life.take(last).keys)
        elif doing == "repeat":
            assert not life.take(last).keys
        elif doing == "wait":
            life.passes(hours=hours, steps=2)
        else:
            life.take(outcome(name, StepState.CONFIRMED if doing == "confirm" else StepState.IRREVOCABLE))
        chain = [life.key(f"k{number}") for number in range(made + 1)]
        assert [each.key_id for each in chain if each.state == "active"] == [chain[-1].key_id]
        assert len({row.audit_id for row in life.rows("rotation")}) == sum(each.state == "retired" for each in chain)
        for old in chain[:-1]:
            assert old.state == "retired" or old.replaced_by
            assert old.state != "retired" or life.now_ms >= (old.valid_until_ms or 0)
