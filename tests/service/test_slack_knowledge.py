"""What Slack's forms are told of an install, and which apps it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from alerting.answers.plans import KillWanted
from schemas.config import RoutesConfig
from schemas.config.routes import SlackConfig
from schemas.records import KeyFacts, StepState
from service.config_folder import Folder, FolderWatch
from service.install import Install
from service.secrets import SecretMissing
from service.slack_answers import slack_apps
from service.slack_knowledge import kill_list, knowledge, plan_words
from tests.alerting.slack_bench import Known
from tests.alerting.world import incident, shown_step
from tests.service.folder import FolderWith

KEYS = """keys:
- {key_id: key-1, provider: openai, provider_ref: proj_a/key_1, team: search, app: ranker, env: prod}
- {key_id: key-2, provider: openai, provider_ref: proj_a/key_2, team: ads, env: prod}
- {key_id: key-3, provider: anthropic, provider_ref: apikey_3, team: search, env: dev, protected: true,
   backup: key-5}
- {key_id: key-4, provider: google, team: ads, env: dev}
- {key_id: key-5, provider: anthropic, provider_ref: apikey_5, env: dev}
"""
PROVIDERS = "providers: {openai: {kind: openai, secret_env: A}, anthropic: {kind: anthropic, secret_env: B}}\n"


@pytest.fixture
def install(folder_with: FolderWith) -> Install:
    folder = folder_with(keys=KEYS, keyfuse=PROVIDERS)
    return Install(FolderWatch(folder).current, folder, environ={})


def of(key_id: str, **changes: Any) -> Any:
    return incident(key_id=key_id, **changes)


def test_the_plan_says_what_each_step_does_and_whom_else_it_hits(install: Install) -> None:
    waits = shown_step("revoke", StepState.AWAITING_APPROVAL)
    plan = plan_words(install, of("key-1", steps=(waits,)), Known())
    about = dict(plan.about)
    assert about["Owner"] == "search/ranker in prod"
    assert about["Provider"] == "openai, there proj_a/key_1"
    steps = {step.step: step for step in plan.steps}
    assert steps["block"].undo.startswith("can be undone, stops the WHOLE project")
    assert steps["block"].also_hits == "1 of keys.yaml: key-2"
    assert (steps["revoke"].undo[:16], steps["revoke"].people) == ("CANNOT BE UNDONE", 2)
    assert steps["revoke"].state == "waits for a person's approval"
    assert "$4,176.00 in 24 h if nothing is done" in plan.at_stake


def test_the_plan_says_what_the_users_go_on_with(install: Install) -> None:
    said = [dict(plan_words(install, of(key_id), Known()).about)["Backup"] for key_id in ("key-1", "key-3")]
    assert said[0] == "none is registered: the key's users stop when it is cut"
    assert said[1].startswith("key-5 (active or not: not known here)")
    broken = Known(of("key-5"))
    assert "would not be used now" in dict(plan_words(install, of("key-3"), broken).about)["Backup"]


def test_a_protected_and_a_frozen_key_say_so(install: Install) -> None:
    freeze = Path(install.folder.responses.freeze_file)
    freeze.parent.mkdir(parents=True, exist_ok=True)
    freeze.write_text("drill")
    assert dict(plan_words(install, of("key-3"), Known()).about)["Mode"] == "observe, frozen, PROTECTED"


def test_where_nothing_can_be_done_the_plan_says_what_to_mend(install: Install) -> None:
    plan = plan_words(install, of("key-4"), Known())
    assert plan.steps == ()
    assert "add `providers.google` to keyfuse.yaml" in plan.why_none


def test_kill_lists_each_key_and_orders_those_that_can_be_cut(install: Install) -> None:
    search = kill_list(install, Known(), KillWanted(team="search"))
    assert [(order.key_id, order.step) for order in search.orders] == [("key-3", "disable")]
    assert search.lines == (
        "key-1 (search/ranker in prod, openai): NOT CUT: no step cuts this key alone and can be undone; "
        "add --revoke (for good) or --wider (block: stops the whole project) to keyfuse kill at a terminal",
        "key-3 (search/unknown in dev, anthropic, PROTECTED): disable, can be undone; "
        "its backup key-5 is switched to first",
    )
    named = kill_list(install, Known(), KillWanted(("key-5", "key-4")))
    assert "add `providers.google`" in named.lines[1]
    assert "terminal" not in named.lines[1]


def test_kill_knows_keys_of_open_incidents_too(install: Install) -> None:
    seen = of("apikey_9", facts=KeyFacts(provider="anthropic", team="pop-up", env="dev"))
    assert len(kill_list(install, Known(seen), KillWanted(("apikey_9",))).orders) == 1
    assert len(kill_list(install, Known(seen), KillWanted(team="pop-up")).orders) == 1


def test_kill_by_a_filter_waits_until_the_open_incidents_are_known(install: Install) -> None:
    filling = Known()
    filling.whole = False
    with pytest.raises(ValueError, match="still being read: ask again in a moment, or name the keys"):
        kill_list(install, filling, KillWanted(team="search"))
    assert len(kill_list(install, filling, KillWanted(("key-3",))).orders) == 1


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (KillWanted(), "which keys? name them, or give team:, app: or env:; nothing is never read as everything"),
        (KillWanted(team=""), "team: is empty"),
        (KillWanted(env="unknown"), "env: unknown would be every key"),
        (KillWanted(("key-1",), team="search"), "name keys, or give team:, app:, env:: not both"),
        (KillWanted(team="nobody"), "no known key has team nobody"),
        (KillWanted(("key-9",)), "nobody can say what key-9 is"),
    ],
)
def test_nothing_is_never_everything(install: Install, wanted: KillWanted, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        kill_list(install, Known(), wanted)


def test_what_is_typed_must_be_the_number_and_the_word(install: Install) -> None:
    known = knowledge(install, Known())
    assert known.means_it("2 kill", 2)
    assert not known.means_it("2", 2)
    assert known.kill(KillWanted(("key-3",))).orders
    assert known.plan(of("key-3")).steps


@pytest.mark.parametrize(
    ("settings", "way"),
    [
        ({}, "none"),
        ({"app_token_env": "A"}, "socket"),
        ({"app_token_file": "/a"}, "socket"),
        ({"signing_secret_env": "S"}, "http"),
        ({"signing_secret_file": "/s"}, "http"),
        ({"signing_secret_env": "S", "app_token_env": "A"}, "socket"),
        ({"signing_secret_env": "S", "app_token_env": "A", "answers": "http"}, "http"),
        ({"app_token_env": "A", "answers": "none"}, "none"),
    ],
)
def test_the_way_back_follows_from_the_secret_that_is_named(settings: dict[str, Any], way: str) -> None:
    assert SlackConfig(**settings).way == way


def slack_install(*channels: dict[str, Any], **environ: str) -> Install:
    routes = {
        f"c{number}": {"kind": "slack", "target": "C1", "secret_env": "BOT", "slack": channel}
        for number, channel in enumerate(channels)
    }
    folder = Folder(routes=RoutesConfig.model_validate({"channels": routes}))
    return Install(folder, Path("nowhere"), environ={"BOT": "xoxb-1", **environ})


def test_channels_of_one_app_share_it() -> None:
    one = slack_install(
        {"app_token_env": "A"}, {"app_token_env": "SAME"}, {"app_token_env": "OTHER"}, {}, {"signing_secret_env": "S"},
        A="xapp-1", SAME="xapp-1", OTHER="xapp-2", S="signing",
    )  # fmt: skip
    assert [app.channel for app in slack_apps(one, "socket")] == ["c0", "c2"]
    assert [app.channel for app in slack_apps(one, "http")] == ["c4"]


def test_a_secret_that_is_not_there_is_told_by_name() -> None:
    one = slack_install({"app_token_env": "GONE"})
    assert slack_apps(one, "http") == []
    with pytest.raises(SecretMissing, match="app token of channel c0: the environment variable GONE is not set"):
        slack_apps(one, "socket")
