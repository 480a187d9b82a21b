"""Who gets a key at once, who has to wait for a person, and what is told of a wish that cannot be met."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controls.desks import IdentityState, Told
from controls.issuing import DAY_MS, Rules, problems
from controls.issuing_desk import IssuingDesk, question_of
from controls.people import NOBODY, People
from controls.registry import Registry
from schemas.config import PeopleConfig
from schemas.config.budgets import BudgetConfig
from schemas.config.keys import IssueRule, IssuingConfig, KeyConfig, KeysConfig
from schemas.config.people import PersonConfig
from schemas.key_ask import KeyAsk, wish_of
from schemas.key_record import KeyRecord
from schemas.question import Answer
from schemas.spend import BudgetStatus
from tests.controls.asks import T0, WISH, ask, fingerprint

PEOPLE = People(PeopleConfig(people={
    "ann": PersonConfig(role="viewer"), "bob": PersonConfig(role="approver"), "cem": PersonConfig(role="responder"),
}))  # fmt: skip
MINTING = {"openai": "openai", "or": "openrouter"}
BUDGET = BudgetConfig(name="search-dev", teams=("search",), usd=100)


def status(**changes: Any) -> BudgetStatus:
    fields = {
        "budget": "search-dev", "scope": "team=search", "at_ms": T0, "period": "2026-11", "period_from_ms": T0 - DAY_MS,
        "period_until_ms": T0 + DAY_MS, "level": "ok", "spent_nano_usd": 0, "spent_tokens": 0,
        "limit_nano_usd": 100 * 10**9, "limit_tokens": None,
    }  # fmt: skip
    return BudgetStatus(**{**fields, **changes})


class Office:
    """A desk with its state, as the stage has them."""

    def __init__(
        self, *, people: People | None = None, standing: BudgetStatus | None = None,
        minting: Mapping[str, str] = MINTING, **issuing: Any,
    ) -> None:  # fmt: skip
        self.now_ms = T0
        rules = Rules(IssuingConfig(**issuing), people or NOBODY, minting)
        self.state = IdentityState(people=rules.people)
        known = {"search-dev": standing} if standing else {}
        self.desk = IssuingDesk(
            rules, budgets=lambda facts: (BUDGET,) if facts.team == "search" else (), standing=known
        )

    def take(self, message: KeyAsk | Answer) -> Told:
        told = self.desk.take(message, self.state, self.now_ms)
        self.state.take(told)
        return told

    def later(self, days: float) -> Told:
        self.now_ms += round(days * DAY_MS)
        told = self.desk.due(self.state, self.now_ms)
        self.state.take(told)
        return told

    def key(self, number: int = 1) -> KeyRecord:
        found = self.state.registry.asked_for(f"r{number}")
        assert found is not None
        return found

    def answer(self, choice: str = "approve", *, by: str = "bob", number: int = 1, **fields: Any) -> Told:
        return self.take(
            Answer(question_id=question_of(self.key(number)), by=by, choice=choice, at_ms=self.now_ms, **fields)
        )


def test_a_key_for_dev_is_there_at_once_with_a_low_quota_and_an_end() -> None:
    office = Office()
    told = office.take(ask())
    [key] = told.keys
    assert (key.key_id, key.state, key.owner, key.provider) == (fingerprint(1), "active", "ann", "keyfuse")
    assert (key.quota_usd_per_day, key.quota_requests_per_min, key.expires_ms) == (5, 60, T0 + 30 * DAY_MS)
    assert not told.questions
    assert [(row.actor, row.result, row.key_id) for row in told.audit] == [("ann", "issued", fingerprint(1))]
    assert key.served(T0)
    assert not key.served(T0 + 30 * DAY_MS)


@pytest.mark.parametrize(
    ("wish", "standing", "why"),
    [
        ({"env": "prod"}, None, "keys in prod are approved by a person"),
        ({"env": "newly-made-up"}, None, "keys in newly-made-up are approved by a person"),
        ({"quota_usd_per_day": 50}, None, "it asks for 50 USD a day, dev gives 5"),
        ({"quota_requests_per_min": 600}, None, "it asks for 600 requests a minute, dev gives 60"),
        ({"data_class": "confidential"}, None, "it is to be shown confidential data"),
        ({"kind": "provider", "provider": "or"}, None, "a credential of or is held to no quota by a gate"),
        (
            {},
            status(spent_nano_usd=96 * 10**9),
            "the budget search-dev has $4.00 left, and the key could spend $5.00 a day",
        ),
        ({}, status(committed_nano_usd=96 * 10**9), "the budget search-dev has $4.00 left"),
        ({}, status(spent_nano_usd=100 * 10**9), "the budget search-dev is used up"),
        ({}, status(level="stopped", limit_nano_usd=None), "the budget search-dev is used up"),
    ],
)
def test_a_person_is_asked(wish: dict[str, Any], standing: BudgetStatus | None, why: str) -> None:
    office = Office(standing=standing)
    told = office.take(ask(**wish))
    [key], [question] = told.keys, told.questions
    assert key.state == "pending"
    assert not key.served(T0)
    assert why in question.lines["A person is asked, for"]
    assert (question.asked_by, question.about, question.kind) == ("ann", key.key_id, "key_request")
    assert question.lines["Purpose"] == WISH["purpose"]


@pytest.mark.parametrize(
    "standing",
    [None, status(spent_nano_usd=95 * 10**9), status(spent_nano_usd=10**15, level="stopped", period_until_ms=T0),
     status(limit_nano_usd=None, spent_nano_usd=10**15)],
)  # fmt: skip
def test_nobody_is_asked_while_the_budget_has_room(standing: BudgetStatus | None) -> None:
    assert Office(standing=standing).take(ask(quota_usd_per_day=3)).keys[0].state == "active"


def test_so_many_keys_and_then_a_person_is_asked_until_one_has_ended() -> None:
    office = Office(envs={"dev": IssueRule(instant=True, expires_days=1, most_per_owner=2)})
    states = [office.take(ask(number)).keys[0].state for number in (1, 2, 3)]
    assert states == ["active", "active", "pending"]
    assert office.take(ask(4, by="cem")).keys[0].state == "active"
    office.later(1)
    assert office.take(ask(5)).keys[0].state == "active"


def test_an_approver_says_yes_and_its_time_begins_then() -> None:
    office = Office(people=PEOPLE)
    office.take(ask(env="prod", expires_days=10))
    assert office.state.questions[question_of(office.key())].to == ("bob",)
    office.now_ms += 3 * DAY_MS
    told = office.answer(reason="for the launch")
    key = office.key()
    assert (key.state, key.approved_by, key.seq, key.expires_ms) == ("active", "bob", 2, T0 + 13 * DAY_MS)
    assert key.change == "approved by bob: for the launch"
    assert [question.state for question in told.questions] == ["answered"]
    assert [(row.actor, row.result) for row in told.audit] == [("bob", "taken")]


def test_an_approver_says_no() -> None:
    office = Office(people=PEOPLE)
    office.take(ask(env="prod"))
    office.answer("refuse", reason="use the one of the team")
    assert (office.key().state, office.key().change) == ("refused", "refused by bob: use the one of the team")
    assert office.state.registry.facts_of(fingerprint(1)) is None


@pytest.mark.parametrize(
    ("by", "choice", "why"),
    [
        ("ann", "approve", "ann asked for it: somebody else has to answer"),
        ("cem", "approve", "cem is responder; asked is bob, and it needs approver otherwise"),
        ("eve", "approve", "eve is not in people.yaml"),
        ("bob", "perhaps", "perhaps is no answer to it"),
    ],
)
def test_a_word_that_does_not_count_is_in_the_audit_and_changes_nothing(by: str, choice: str, why: str) -> None:
    office = Office(people=PEOPLE)
    office.take(ask(env="prod"))
    told = office.answer(choice, by=by)
    assert why in told.audit[0].detail["why"]
    assert told.audit[0].result == "refused"
    assert not told.keys
    assert office.key().state == "pending"


def test_who_answers_second_is_told_who_was_first_and_a_repeat_is_nothing_new() -> None:
    office = Office(people=PEOPLE)
    office.take(ask(env="prod"))
    office.answer()
    assert not office.answer()
    assert "bob has answered it already" in office.answer("refuse").audit[0].detail["why"]
    assert office.key().state == "active"


def test_teams_with_approvers_of_their_own_ask_those() -> None:
    office = Office(people=PEOPLE, approvers={"search": ("cem",)})
    office.take(ask(env="prod"))
    assert office.state.questions["key:r1"].to == ("cem",)
    office.answer(by="cem")
    assert office.key().approved_by == "cem"


def test_who_asks_is_not_asked_to_approve_it_and_somebody_else_is() -> None:
    office = Office(people=PEOPLE, approvers={"search": ("ann",)})
    office.take(ask(env="prod"))
    asked = office.state.questions["key:r1"].to
    assert asked
    assert "ann" not in asked


def test_a_request_that_comes_again_makes_no_second_key() -> None:
    office = Office()
    office.take(ask())
    assert not office.take(ask())
    assert len(office.state.registry.entries()) == 1


@pytest.mark.parametrize("other", [{"purpose": "something else"}, {"team": "ads"}, {"env": "prod"}])
def test_a_request_id_that_comes_again_for_something_else_is_refused(other: dict[str, Any]) -> None:
    office = Office()
    office.take(ask())
    told = office.take(ask(**other))
    assert not told.keys
    assert told.audit[0].result == "refused"


def test_nobody_takes_over_a_key_that_is_there_by_asking_for_it() -> None:
    office = Office()
    office.state.registry = Registry(
        KeysConfig(keys=(KeyConfig(key_id=fingerprint(1), provider="openai", env="prod"),))
    )
    told = office.take(ask())
    assert not told.keys
    assert told.audit[0].result == "refused"
    office.take(ask(2))
    stolen = ask(2).model_copy(update={"request_id": "r9", "by": "eve"})
    assert not office.take(stolen).keys
    assert office.key(2).owner == "ann"


def test_a_key_ends_by_itself_once() -> None:
    office = Office()
    office.take(ask())
    assert not office.later(29.9)
    told = office.later(0.1)
    assert [(key.state, key.by, key.change) for key in told.keys] == [("retired", "keyfuse", "its time is over")]
    assert not office.later(1)


def test_a_question_that_was_lost_is_asked_again() -> None:
    office = Office(people=PEOPLE)
    before = office.take(ask(env="prod", kind="provider", provider="openai", place="proj_1")).questions
    office.state.questions.clear()
    assert office.later(0).questions == before
    assert before[0].lines["Key"] == "a credential of openai proj_1"
    assert not office.later(1)


def test_a_request_that_nobody_answers_is_told_again_and_refused_in_the_end() -> None:
    office = Office()
    office.take(ask(env="prod"))
    assert not office.later(3.4)
    [asked_again] = office.later(0.1).questions
    assert [reminder.words for reminder in asked_again.reminders] == [
        "still waits for an answer: who asked goes without a key meanwhile"
    ]
    assert not office.later(3.4)
    told = office.later(0.1)
    assert [key.change for key in told.keys] == ["refused: nobody answered within 7 days"]
    assert [question.state for question in told.questions] == ["withdrawn"]
    assert "the question is withdrawn" in office.answer().audit[0].detail["why"]


@pytest.mark.parametrize(
    ("wish", "found"),
    [
        ({"owner": "eve"}, [("owner", "eve is not in people.yaml")]),
        ({"expires_days": 31}, [("expires_days", "at most 30 in dev; ask again when it ends")]),
        ({"backup": "k9"}, [("backup", "k9 is no registered key")]),
        ({"provider": "openai"}, [("provider", "goes with kind provider alone")]),
        (
            {"kind": "provider", "provider": "azure"},
            [("provider", "azure cannot make a credential by itself; openai, or can")],
        ),
        ({"kind": "provider"}, [("provider", "say which provider is to make it; openai, or can")]),
        (
            {"kind": "provider", "provider": "openai"},
            [("place", "say where openai is to make it: the project, proj_...")],
        ),
        (
            {"owner": "eve", "expires_days": 99, "backup": "k9", "place": "p"},
            [("owner", "eve is not in people.yaml"), ("expires_days", "at most 30 in dev; ask again when it ends"),
             ("place", "goes with kind provider alone"), ("backup", "k9 is no registered key")],
        ),
    ],
)  # fmt: skip
def test_all_that_is_wrong_is_told_at_once_and_again_by_the_desk(
    wish: dict[str, Any], found: list[tuple[str, str]]
) -> None:
    asked, office = ask(**wish), Office(people=PEOPLE)
    rules = Rules(IssuingConfig(), PEOPLE, {"openai": "openai", "or": "openrouter"})
    assert [tuple(each) for each in problems("ann", asked.wish, office.state.registry, rules)] == found
    told = office.take(asked)
    assert [key.state for key in told.keys] == ["refused"]
    assert all(words in told.keys[0].change for _, words in found)


def test_whoever_is_in_no_list_asks_for_nothing_where_people_are_named() -> None:
    rules = Rules(IssuingConfig(), PEOPLE)
    found = problems("eve", ask().wish, Registry(KeysConfig()), rules)
    assert [tuple(each) for each in found] == [("by", "eve is not in people.yaml")]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({}, ["team: say which team answers for it", "env: say in which environment it is used, like dev or prod",
              "purpose: say what it is for, in a sentence"]),
        ({**WISH, "team": ""}, ["team: say which team answers for it"]),
        ({**WISH, "team": "a b"}, ['team: expected a name: letters, digits and . _ - @; found "a b"']),
        (
            {**WISH, "purpose": "x"},
            ['purpose: expected 8 to 500 letters: somebody else has to understand it in a year; found "x"'],
        ),
        (
            {**WISH, "networks": ["10.0.0.0/8", "home"]},
            ['networks: expected networks in CIDR, like 10.0.0.0/8; found "home"'],
        ),
        (
            {**WISH, "countries": ["Germany"]},
            ['countries: expected countries as two capitals each, like DE; found "Germany"'],
        ),
        ({**WISH, "expires_days": -1}, ['expires_days: expected days, more than 0, at most 36,500; found "-1"']),
        (
            {**WISH, "expires_days": 1e300, "rotate_every_days": float("inf"), "quota_usd_per_day": float("inf")},
            ['expires_days: expected days, more than 0, at most 36,500; found "1e+300"',
             'quota_usd_per_day: expected USD, more than 0; found "inf"',
             'rotate_every_days: expected days, more than 0, at most 36,500; found "inf"'],
        ),
        ({**WISH, "quota_usd_per_day": "lots"}, ['quota_usd_per_day: expected USD, more than 0; found "lots"']),
        ({**WISH, "teem": "x"}, ["teem: unknown; did you mean team?"]),
        ({**WISH, "zzz": "x"}, ["zzz: unknown; leave it out"]),
        (
            {**WISH, "backup": "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"},
            ["backup: holds what looks like a secret (not shown)"],
        ),
        ({**WISH, "kind": "real"}, ["kind: expected virtual (Keyfuse's own key) or provider; found \"real\""]),
    ],
)  # fmt: skip
def test_a_form_is_told_all_its_slips_in_words(data: dict[str, Any], found: list[str]) -> None:
    told = wish_of(data)
    assert isinstance(told, list)
    assert [f"{each.field}: {each.words}" for each in told] == found


@given(
    st.lists(
        st.tuples(
            st.integers(1, 4), st.sampled_from(["ask", "approve", "refuse", "day"]), st.sampled_from(["ann", "bob"])
        ),
        max_size=25,
    )
)  # fmt: skip
def test_whatever_is_asked_and_answered_each_key_has_one_straight_history(
    steps: list[tuple[int, str, str]],
) -> None:
    office = Office(people=PEOPLE, envs={"dev": IssueRule(instant=True, expires_days=2, most_per_owner=1)})
    history: list[KeyRecord] = []
    for number, what, by in steps:
        if what == "day":
            told = office.later(1)
        elif what == "ask":
            told = office.take(ask(number, by=by, env="dev" if number % 2 else "prod"))
        elif office.state.registry.asked_for(f"r{number}"):
            told = office.take(Answer(question_id=f"key:r{number}", by=by, choice=what, at_ms=office.now_ms)) \
                if f"key:r{number}" in office.state.questions else Told()  # fmt: skip
        else:
            continue
        history += told.keys
    for key_id in {key.key_id for key in history}:
        versions = [key for key in history if key.key_id == key_id]
        assert [key.seq for key in versions] == list(range(1, len(versions) + 1))
        assert all(before.state in ("pending", "active") for before in versions[:-1])
        approved = [key for key in versions if key.approved_by]
        assert all(key.approved_by == "bob" and versions[0].by != "bob" for key in approved)
