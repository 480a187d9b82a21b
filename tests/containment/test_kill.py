"""The switch for emergencies: which keys are meant, with which step, and whether the person means it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containment.kill import Wanted, cut_for, means_it, select
from containment.providers.base import StepSpec
from schemas.records import KeyFacts, Step

KNOWN = {
    "k3": KeyFacts(provider="openai", team="search", app="ranker", env="prod"),
    "k1": KeyFacts(provider="openai", team="search", app="bot", env="dev"),
    "k2": KeyFacts(provider="anthropic", team="ads", app="bot", env="prod"),
    "k4": KeyFacts(provider="anthropic"),
}


def step(*, undo: bool = True, scope: str = "key") -> StepSpec:
    return StepSpec(undo, scope, 1, "It stops.")  # type: ignore[arg-type]  # tables write scopes as words


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        (Wanted(("k2", "k9", "k2 ")), ("k2", "k9")),  # unknown ones are for the registry and the store to judge
        (Wanted(team="search"), ("k1", "k3")),
        (Wanted(app="bot"), ("k1", "k2")),
        (Wanted(env="prod"), ("k2", "k3")),
        (Wanted(team=" search ", env="prod"), ("k3",)),  # each narrows
    ],
)
def test_the_selection_is_a_list_of_names(wanted: Wanted, keys: tuple[str, ...]) -> None:
    assert select(wanted, KNOWN) == keys


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(), "nothing is never read as everything"),
        (Wanted(team=""), "--team is empty"),
        (Wanted(team="search", env=" "), "--env is empty"),
        (Wanted(env="unknown"), "--env unknown would be every key of which nobody wrote the env"),
        (Wanted(("k1", "")), "one of the keys is an empty word"),
        (Wanted(("k1",), team="search"), "not both"),
        (Wanted(team="nope"), "no known key has team nope: nothing to kill"),
        (Wanted(team="search", env="staging"), "no known key has team search and env staging"),
        (Wanted(team="Search"), "no known key has team Search"),
    ],
)
def test_what_could_mean_more_than_was_meant_is_an_error(wanted: Wanted, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        select(wanted, KNOWN)


@given(st.sampled_from(["team", "app", "env"]), st.text())
def test_a_filter_never_selects_a_key_that_does_not_match(name: str, value: str) -> None:
    wanted = {"team": Wanted(team=value), "app": Wanted(app=value), "env": Wanted(env=value)}[name]
    try:
        found = select(wanted, KNOWN)
    except ValueError:
        return
    assert found
    assert all(getattr(KNOWN[key], name) == value.strip() for key in found)


@pytest.mark.parametrize(
    ("steps", "plain", "revoke", "wider"),
    [
        ({"throttle": step(), "disable": step(), "revoke": step(undo=False)}, "disable", "revoke", "disable"),
        ({"block": step(), "disable": step()}, "disable", "disable", "disable"),
        ({"throttle": step(scope="project"), "block": step(scope="project"), "revoke": step(undo=False)},
         None, "revoke", "block"),
        ({"block": step(), "disable": step(scope="account")}, "block", "block", "block"),
        ({"throttle": step()}, None, None, None),  # slower is not cut
        ({"revoke": step(undo=False)}, None, "revoke", None),
        ({"revoke": step(undo=False, scope="project")}, None, None, None),
        ({}, None, None, None),
    ],
)  # fmt: skip
def test_the_step_is_the_hardest_that_can_be_undone_and_stops_the_key_alone(
    steps: Mapping[Step, StepSpec], plain: Step | None, revoke: Step | None, wider: Step | None
) -> None:
    assert cut_for(steps, revoke=False, wider=False).step == plain
    assert cut_for(steps, revoke=True, wider=False).step == revoke
    assert cut_for(steps, revoke=False, wider=True).step == wider


def test_a_key_without_such_a_step_says_what_would_cut_it() -> None:
    openai: Mapping[Step, StepSpec] = {"block": step(scope="project"), "revoke": step(undo=False)}
    assert cut_for(openai, revoke=False, wider=False).why == (
        "no step cuts this key alone and can be undone; "
        "add --revoke (for good) or --wider (block: stops the whole project)"
    )
    assert "stops the whole project" in cut_for(openai, revoke=False, wider=True).why
    assert cut_for({}, revoke=True, wider=True).why == "no step cuts this key alone and can be undone"


@given(st.integers(1, 10_000), st.text())
def test_only_the_number_and_the_word_are_a_yes(keys: int, typed: str) -> None:
    assert means_it(f"{keys} kill", keys)
    assert not means_it(f"{keys + 1} kill", keys)
    assert means_it(typed, keys) is (typed.lower().split() == [str(keys), "kill"])
