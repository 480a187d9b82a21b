from __future__ import annotations

import pytest

from controls.policies import Policies
from schemas.config.policies import PoliciesConfig, PolicyConfig
from schemas.records import KeyFacts

POLICIES = Policies(
    PoliciesConfig(
        policies=(
            PolicyConfig(name="everyone", allowed_models=("gpt-*", "claude-*")),
            PolicyConfig(name="dev is cheap", envs=("dev", "staging"), allowed_models=("*-mini", "claude-haiku-?")),
            PolicyConfig(name="search in prod", teams=("search",), envs=("prod",), allowed_models=("gpt-4.1",)),
            PolicyConfig(name="this key", keys=("k7",), allowed_models=("gpt-4.1-nano",)),
        )
    )
)


@pytest.mark.parametrize(
    ("key_id", "team", "env", "model", "violated"),
    [
        ("k1", "ads", "prod", "gpt-5", None),
        ("k1", "ads", "prod", "gemini-3", "everyone"),
        ("k1", "ads", "dev", "gpt-5", "dev is cheap"),
        ("k1", "ads", "dev", "gpt-5-mini", None),
        ("k1", "ads", "staging", "claude-haiku-4", None),
        ("k1", "ads", "dev", "claude-haiku-45", "dev is cheap"),
        ("k1", "search", "prod", "gpt-4.1", None),
        ("k1", "search", "prod", "gpt-4.1-mini", "search in prod"),
        ("k1", "search", "qa", "gpt-5", None),
        ("k7", "ads", "prod", "gpt-5", "this key"),
        ("k7", "ads", "prod", "gpt-4.1-nano", None),
        ("k7", "ads", "prod", "openai/gpt-4.1-nano", None),  # as gateways write it
        ("k1", "ads", "dev", "openai/gpt-5", "dev is cheap"),
        ("k7", "ads", "prod", "openrouter/openai/gpt-4.1-nano", None),
        ("k7", "ads", "prod", "GPT-4.1-nano", "everyone"),  # upper and lower case differ
        ("k7", "ads", "dev", "gpt-5", "dev is cheap"),  # the first of several, in the order written
    ],
)
def test_a_model_must_be_allowed_by_every_policy_that_covers_the_key(
    key_id: str, team: str, env: str, model: str, violated: str | None
) -> None:
    facts = KeyFacts(provider="openai", team=team, env=env)
    assert POLICIES.forbidden(key_id, facts, model) == violated
    assert POLICIES.forbidden(key_id, facts, model) == violated, "the remembered answer is the same"


def test_without_policies_everything_is_allowed() -> None:
    assert Policies(PoliciesConfig()).forbidden("k1", KeyFacts(provider="openai"), "anything") is None


def test_what_is_remembered_of_one_team_is_not_used_for_another() -> None:
    policies = Policies(PoliciesConfig(policies=(PolicyConfig(name="p", teams=("a",), allowed_models=("x",)),)))
    verdicts = [policies.forbidden("k1", KeyFacts(provider="openai", team=team), "y") for team in ("a", "b", "a")]
    assert verdicts == ["p", None, "p"]
