"""Exceptions: asked for by one, approved by another, over by themselves, never endless."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from controls.budgets import quota_of
from controls.desks import IdentityState, Told
from controls.exceptions import ExceptionDesk, ExceptionRules, id_of, question_id_of
from controls.expected import expected_of, raised, raised_budgets, turned
from controls.people import People
from controls.policies import Policies
from schemas.call import Call
from schemas.config import BudgetsConfig, KeysConfig, PeopleConfig, PoliciesConfig
from schemas.config.keys import KeyConfig
from schemas.exception import PolicyException
from schemas.exception_ask import ExceptionAsk, ExceptionEnd
from schemas.question import Answer
from schemas.records import KeyFacts, Via

NOW_MS = 1_795_824_000_000
HOUR_MS = 3_600_000
RULES = ExceptionRules(
    PoliciesConfig.model_validate({
        "policies": [{"name": "cheap", "allowed_models": ["*-mini"], "requests_per_min": 5}], "exceptions_max_days": 7,
    }),
    BudgetsConfig.model_validate({"budgets": [{"name": "all", "usd": 100}, {"name": "money", "usd": 100}]}),
    KeysConfig.model_validate({"issuing": {"approvers": {"search": ["sam", "ann"]}}}),
)  # fmt: skip
PEOPLE = People(
    PeopleConfig.model_validate({"people": {
        "ann": {"role": "approver"}, "bob": {"role": "approver"}, "sam": {"role": "responder"},
        "vera": {"role": "viewer"},
    }})
)  # fmt: skip


def asking(**changes: Any) -> ExceptionAsk:
    fields: dict[str, Any] = {
        "request_id": "r1", "at_ms": NOW_MS, "by": "ann", "rule": "models", "allows": ("gpt-5",), "keys": ("k1",),
        "from_ms": NOW_MS, "until_ms": NOW_MS + HOUR_MS, "reason": "launch",
    }  # fmt: skip
    return ExceptionAsk(**(fields | changes))


class Desk:
    """A desk with its state, as the stage keeps it."""

    def __init__(self, people: People = PEOPLE) -> None:
        self.desk, self.state, self.told = ExceptionDesk(RULES), IdentityState(people=people), list[Told]()

    def says(self, message: Any, now_ms: int = NOW_MS) -> Told:
        return self._took(self.desk.take(message, self.state, now_ms))

    def waits(self, now_ms: int) -> Told:
        return self._took(self.desk.due(self.state, now_ms))

    def answer(self, by: str, choice: str = "approve", now_ms: int = NOW_MS, via: Via = "terminal") -> Told:
        name = question_id_of(id_of(asking()))
        return self.says(Answer(question_id=name, by=by, choice=choice, at_ms=now_ms, via=via), now_ms)

    def _took(self, told: Told) -> Told:
        self.state.take(told)
        self.told.append(told)
        return told

    @property
    def one(self) -> PolicyException:
        [one] = self.state.exceptions.values()
        return one


def test_what_is_asked_for_holds_when_a_second_person_has_approved_it_and_not_before() -> None:
    desk = Desk()
    told = desk.says(asking())
    assert (desk.one.state, desk.one.owner, desk.one.holds(NOW_MS)) == ("asked", "ann", False)
    [question] = told.questions
    assert (question.kind, question.to, question.asked_by) == ("exception", ("bob",), "ann")
    assert question.title == f"ann asks for an exception: {desk.one.words}"
    assert question.lines["Reason"] == "launch"

    desk.answer("bob")
    assert (desk.one.state, desk.one.approved_by, desk.one.seq) == ("active", "bob", 1)
    assert desk.one.holds(NOW_MS)
    assert [row.action for told in desk.told for row in told.audit] == ["exception_ask", "answer_exception"]

    assert not desk.waits(NOW_MS + HOUR_MS - 1)
    desk.waits(NOW_MS + HOUR_MS)
    assert (desk.one.state, desk.one.ended_by, desk.one.change) == ("ended", "keyfuse", "its time is over")
    assert not desk.waits(NOW_MS + 2 * HOUR_MS), "told once"


@pytest.mark.parametrize(
    ("by", "via", "why"),
    [
        ("ann", "terminal", "ann asked for it: somebody else has to answer"),
        ("ANN", "terminal", "ANN asked for it: somebody else has to answer"),
        ("sam", "terminal", "sam is responder; asked is bob, and it needs approver otherwise"),
        ("vera", "slack", "vera is viewer; asked is bob, and it needs approver otherwise"),
        ("mallory", "terminal", "mallory is not in people.yaml"),
        ("", "terminal", "it does not say who answers"),
    ],
)
def test_a_word_that_does_not_count_changes_nothing_and_is_in_the_audit(by: str, via: Via, why: str) -> None:
    desk = Desk()
    desk.says(asking())
    told = desk.answer(by, via=via)
    assert desk.one.state == "asked"
    [row] = told.audit
    assert (row.result, row.detail["why"]) == ("refused", why)


def test_the_approvers_of_the_team_are_asked_where_the_exception_is_for_teams() -> None:
    told = Desk().says(asking(keys=(), teams=("search",)))
    assert told.questions[0].to == ("sam",), "ann asks, so she is not asked"


def test_where_nobody_is_named_two_different_names_are_needed_all_the_same() -> None:
    desk = Desk(People(PeopleConfig()))
    desk.says(asking())
    states = []
    for name in ("ann", "somebody"):
        desk.answer(name)
        states.append(desk.one.state)
    assert states == ["asked", "active"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"until_ms": NOW_MS}, "it would be over already"),
        ({"until_ms": NOW_MS + 8 * 24 * HOUR_MS}, "it may last 7 days at most (exceptions_max_days in policies.yaml)"),
        ({"reason": " "}, "it says no reason"),
        ({"of": "chaep"}, "there is no policy 'chaep' in policies.yaml"),
        ({"rule": "budget_usd", "of": "al", "allows": (), "limit": 5.0}, "there is no budget 'al' in budgets.yaml"),
        ({"keys": ()}, "nothing is lifted for everybody"),
        ({"allows": ()}, "an exception of models says which it allows"),
        ({"limit": 3.0}, "and no other, says the limit that holds instead"),
        ({"rule": "requests_per_min", "allows": ()}, "says the limit that holds instead"),
        ({"rule": "requests_per_min", "allows": (), "limit": float("inf")}, "less than or equal"),
        ({"from_ms": NOW_MS + HOUR_MS, "until_ms": NOW_MS + HOUR_MS}, "it ends before it begins"),
    ],
)
def test_what_cannot_be_is_refused_in_words(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        RULES.drafted(asking(**changes))
    desk = Desk()
    told = desk.says(asking(**changes))
    assert not desk.state.exceptions
    assert told.audit[0].result == "refused"


def test_no_version_without_a_second_person_can_be_made_at_all() -> None:
    fields = RULES.drafted(asking()).model_dump() | {"state": "active"}
    for approved_by in ("", "ann", "Ann"):
        with pytest.raises(ValidationError, match="a second person must have approved it"):
            PolicyException.model_validate(fields | {"approved_by": approved_by})


def test_a_refused_one_stays_refused_and_one_that_nobody_approved_ends_with_its_question() -> None:
    desk = Desk()
    desk.says(asking())
    desk.answer("bob", "refuse")
    assert (desk.one.state, desk.one.ended_by) == ("refused", "bob")
    desk.answer("bob", "approve")
    assert desk.one.state == "refused"

    desk = Desk()
    desk.says(asking())
    told = desk.waits(NOW_MS + HOUR_MS)
    assert (desk.one.state, desk.one.change) == ("ended", "nobody approved it in its time")
    assert told.questions[0].state == "withdrawn"
    desk.answer("bob", now_ms=NOW_MS + HOUR_MS)
    assert desk.one.state == "ended"


def test_a_question_that_was_lost_is_asked_again_and_can_be_answered() -> None:
    desk = Desk()
    desk.says(asking())
    desk.state.questions.clear()
    [question] = desk.waits(NOW_MS + 1).questions
    assert (question.question_id, question.asked_by) == (question_id_of(desk.one.exception_id), "ann")
    assert not desk.waits(NOW_MS + 2)
    desk.answer("bob", now_ms=NOW_MS + 3)
    assert desk.one.state == "active"


def test_an_approval_that_comes_after_its_time_does_not_count() -> None:
    desk = Desk()
    desk.says(asking())
    told = desk.answer("bob", now_ms=NOW_MS + HOUR_MS)
    assert desk.one.state == "asked"
    assert told.audit[0].detail["why"] == "its time is over"


def test_it_can_be_ended_before_its_time_by_whoever_is_known() -> None:
    desk = Desk()
    desk.says(asking())
    desk.answer("bob")
    end = ExceptionEnd(exception_id=desk.one.exception_id, at_ms=NOW_MS, by="mallory")
    assert desk.says(end).audit[0].detail["words"] == "mallory is not in people.yaml"
    desk.says(end.model_copy(update={"by": "vera", "reason": "done"}))
    assert (desk.one.state, desk.one.change) == ("ended", "ended by vera: done")
    assert desk.says(end.model_copy(update={"by": "vera"})).audit[0].result == "refused"


words = st.one_of(
    st.builds(asking),
    st.tuples(st.sampled_from(["ann", "bob", "sam", "mallory"]), st.sampled_from(["approve", "refuse"])),
    st.sampled_from(["bob", "mallory"]).map(lambda by: ExceptionEnd(exception_id=id_of(asking()), at_ms=NOW_MS, by=by)),
    st.none(),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(words, st.integers(0, 30)), max_size=12))
def test_whatever_is_said_in_whatever_order_it_holds_only_between_two_people_and_in_its_time(
    said: list[tuple[Any, int]],
) -> None:
    desk, now_ms, seen = Desk(), NOW_MS, list[PolicyException]()
    for word, minutes in said:
        now_ms += minutes * 60_000
        if isinstance(word, tuple):
            if question_id_of(id_of(asking())) in desk.state.questions:
                desk.answer(word[0], word[1], now_ms)
        elif word is None:
            desk.waits(now_ms)
        else:
            desk.says(word, now_ms)
        seen += desk.told[-1].exceptions if desk.told else ()
        for one in desk.state.exceptions.values():
            assert not one.holds(now_ms) or (one.approved_by == "bob" and now_ms < one.until_ms)
    versions = list(dict.fromkeys(one.seq for one in seen))
    assert versions == list(range(len(versions))), "each version once, in order"
    desk.waits(NOW_MS + 2 * HOUR_MS)
    assert all(one.state in {"ended", "refused"} for one in desk.state.exceptions.values())


def approved(**changes: Any) -> PolicyException:
    fields = RULES.drafted(asking(**changes)).model_dump()
    return PolicyException.model_validate(fields | {"state": "active", "approved_by": "bob"})


@pytest.mark.parametrize(
    ("changes", "families"),
    [
        ({}, ("mix", "economics")),
        ({"rule": "networks", "allows": ("10.0.0.0/8",)}, ("origin",)),
        ({"rule": "hours", "allows": ()}, ("rhythm",)),
        ({"rule": "max_output_tokens", "allows": (), "limit": 9.0}, ("velocity", "economics")),
        ({"rule": "requests_per_min", "allows": (), "limit": 9.0},
         ("velocity", "drift", "economics", "rhythm", "repetition", "cohort")),
    ],
)  # fmt: skip
def test_detectors_expect_meanwhile_what_was_allowed(changes: dict[str, Any], families: tuple[str, ...]) -> None:
    one = approved(**changes, times=4.0)
    [window] = expected_of([one, one.model_copy(update={"state": "ended"}), one.model_copy(update={"state": "asked"})])
    assert (window.families, window.times, window.limits_times) == (families, 4.0, 1.0)
    assert (window.what, window.owner, window.keys) == (f"exception {one.exception_id}", "ann", ("k1",))
    assert window.from_.timestamp() * 1000 == NOW_MS
    assert window.until.timestamp() * 1000 == NOW_MS + HOUR_MS


def test_a_budget_stands_higher_while_its_exception_holds() -> None:
    config = BudgetsConfig.model_validate(
        {"budgets": [{"name": "all", "usd": 100, "tokens": 50}, {"name": "money", "usd": 100}]}
    )
    lifting = [
        approved(rule=rule, of=of, allows=(), limit=limit, keys=())
        for rule, of, limit in (
            ("budget_usd", "all", 500.0), ("budget_usd", "all", 300.0), ("budget_tokens", "all", 7.0),
            ("budget_tokens", "money", 9.0),
        )
    ]  # fmt: skip

    def amounts(at_ms: int) -> list[tuple[float | None, int | None]]:
        return [(one.usd, one.tokens) for one in raised_budgets(config, lifting, at_ms).budgets]

    plain = [(100, 50), (100, None)]
    assert amounts(NOW_MS) == [(500, 50), (100, None)], "the greatest, never less than is written, no new limit"
    assert amounts(NOW_MS - 1) == amounts(NOW_MS + HOUR_MS) == plain
    assert [turned(lifting, ms - 1, ms) for ms in (NOW_MS - 1, NOW_MS, NOW_MS + 1, NOW_MS + HOUR_MS)] == [
        False, True, False, True,
    ]  # fmt: skip
    assert expected_of(lifting) == (), "a budget is no key"


@pytest.mark.parametrize(
    ("named", "usd"),
    [
        ({"keys": ("k1",)}, 9),
        ({"keys": ("k2",)}, 3),
        ({"keys": ("k1",), "teams": ("search",)}, 3),
        ({"keys": ("before k1",)}, 9),
    ],
)
def test_an_exception_of_a_keys_quota_holds_for_the_budget_that_the_quota_is(named: dict[str, Any], usd: int) -> None:
    entry = KeyConfig(key_id="k1", provider="openai").record()
    quota = quota_of(entry.model_copy(update={"quota_usd_per_day": 3.0, "formerly": ("before k1",)}))
    assert quota is not None
    one = approved(rule="usd_per_day", limit=9, allows=()).model_copy(update={"keys": (), "teams": (), **named})
    assert [raised(quota, [one], at_ms).usd for at_ms in (one.from_ms, one.until_ms)] == [usd, 3]


def test_what_is_approved_is_what_a_gate_lets_pass() -> None:
    facts = KeyFacts(provider="openai")
    call = Call("k1", NOW_MS, model="gpt-5")
    assert Policies(RULES.policies).judge(call, facts).state == "deny"
    assert Policies(RULES.policies, [RULES.drafted(asking())]).judge(call, facts).state == "deny"
    assert Policies(RULES.policies, [approved()]).judge(call, facts).state == "allow"
    assert Policies(RULES.policies, [approved()]).judge(call._replace(at_ms=NOW_MS + HOUR_MS), facts).state == "deny"


@pytest.mark.parametrize(
    ("newest", "held"),
    [
        ({}, (NOW_MS, NOW_MS + HOUR_MS)),
        ({"state": "asked", "approved_by": ""}, (NOW_MS, NOW_MS + HOUR_MS)),
        ({"state": "ended", "at_ms": NOW_MS + 1000}, (NOW_MS, NOW_MS + 1000)),
        ({"state": "ended", "at_ms": NOW_MS + 2 * HOUR_MS}, (NOW_MS, NOW_MS + HOUR_MS)),
        ({"state": "ended", "at_ms": NOW_MS}, None),
        ({"state": "ended", "at_ms": NOW_MS + 1000, "approved_by": ""}, None),
    ],
)
def test_who_looks_back_sees_an_exception_that_is_over_as_it_held(
    newest: dict[str, Any], held: tuple[int, int] | None
) -> None:
    first = approved().model_copy(update={"from_ms": NOW_MS, "until_ms": NOW_MS + HOUR_MS})
    later = first.model_copy(update={"seq": first.seq + 1, **newest})
    found = PolicyException.as_they_held([later, first])
    assert [(one.from_ms, one.until_ms) for one in found] == [held] * (held is not None)
    lifts = held is not None and later.state != "asked"
    assert [one.holds(NOW_MS) for one in found] == [lifts] * len(found)
