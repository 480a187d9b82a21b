"""`keyfuse plan`: what a person reads before cutting."""

from __future__ import annotations

import io
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from containment.plan import Spend
from schemas.config import ResponsesConfig
from schemas.records import Incident, Leak
from service import plan_command
from service.errors import UserError
from service.setup_commands import migrate
from tests.containment.build import incident
from tests.containment.test_plan import OPENAI, planned
from tests.service.folder import FolderWith

KEYS = """keys:
- {key_id: key-1, provider: openai, provider_ref: proj_a/key_1, team: search, app: ranker, env: prod}
- {key_id: key-2, provider: openai, provider_ref: proj_a/key_2, team: ads}
- {key_id: key-3, provider: openai, provider_ref: proj_b/key_3}
- {key_id: key-4, provider: google}
- {key_id: key-5, provider: litellm, provider_ref: proj_a/key_1}
- {key_id: key-6, provider: openai, provider_ref: proj_c/key_6, backup: key-7}
- {key_id: key-7, provider: openai, provider_ref: proj_c/key_7}
"""
PROVIDERS = "providers: {openai: {kind: openai, secret_env: OPENAI_ADMIN}}\n"


@pytest.fixture
def config(folder_with: FolderWith) -> Path:
    return folder_with(keys=KEYS, keyfuse=f"store: {{dsn: 'clickhouse://me@127.0.0.1:1/keyfuse'}}\n{PROVIDERS}")


def said(config: Path, key_id: str, *, as_json: bool = False) -> str:
    out = io.StringIO()
    plan_command.plan(config, key_id, as_json=as_json, out=Console(file=out, width=400))
    return out.getvalue()


def test_a_plan_can_be_read_when_nothing_else_answers(config: Path) -> None:
    text = said(config, "key-1")
    assert "key-1 (in keys.yaml)" in text
    assert "search/ranker in prod" in text
    assert "at stake  not known" in text
    assert "1. throttle: can be undone, stops the whole project, about 60 s, 1 person orders it" in text
    assert "3. revoke: CANNOT BE UNDONE, stops this key alone, about 10 s, 2 people must order it" in text
    assert text.count("also hits  1 of keys.yaml: key-2") == 2
    assert "key-3" not in text


def test_the_same_plan_as_json(config: Path) -> None:
    (config.parent / ".keyfuse").mkdir()
    (config.parent / ".keyfuse" / "FREEZE").write_text("drill")
    plan = orjson.loads(said(config, "key-1", as_json=True))
    assert (plan["key_id"], plan["frozen"], plan["next_go"]) == ("key-1", True, "nothing")
    assert [rung["also_hits"] for rung in plan["rungs"]] == [["key-2"], ["key-2"], []]


def test_a_plan_shows_where_the_key_was_found() -> None:
    leaks = (Leak(source="paste", url="https://p/1\x1b[31m", by="ci", verified=True, told_at_ms=0),)
    made = planned(incident(families=("leak",), scores={}, leaks=leaks), steps=OPENAI)
    assert "leaked    found in paste at https://p/1 [31m, reported by ci (verified)" in plan_command.text_of(made)
    assert "leaked" not in plan_command.text_of(planned(incident(), steps=OPENAI))


def test_the_plan_says_what_the_users_go_on_with(config: Path) -> None:
    assert "backup    none is registered: the key's users stop when it is cut" in said(config, "key-1")
    text = said(config, "key-6")
    assert "backup    key-7 (active or not: not known here); before a cut users are told at the gates" in text
    assert "not for block, which stops it too" in text
    backup = orjson.loads(said(config, "key-6", as_json=True))["backup"]
    assert (backup["key_id"], backup["active"], backup["useless_for"]) == ("key-7", "unknown", ["block"])


@pytest.mark.parametrize(
    ("key_id", "words"),
    [
        ("key-4", "add `providers.google`"),
        ("key-9", "key-9 is not in keys.yaml"),
        ("sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t", "looks like the secret itself"),
    ],
)
def test_a_key_without_a_plan_says_why(config: Path, key_id: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        said(config, key_id)


def test_a_key_that_spends_nothing_has_nothing_at_stake(config: Path) -> None:
    (config / "keyfuse.yaml").write_text(PROVIDERS)  # the embedded store
    migrate(config, out=Console(quiet=True))
    text = said(config, "key-1")
    assert "at stake  $0.00 in 24 h if nothing is done" in text
    assert "incident  none is open" in text


@pytest.mark.parametrize(
    ("case", "mode", "words"),
    [
        (incident(), "auto", "revoke waits for a person: revoke cannot be undone, a person must approve"),
        (incident(), "observe", "revoke would be done; the mode is observe"),
        (None, "auto", "nothing is done by itself: no incident is open"),
    ],
)
def test_what_comes_next_is_one_sentence(case: Incident | None, mode: str, words: str) -> None:
    plan = planned(case, steps=OPENAI, config=ResponsesConfig.model_validate({"mode": mode}))
    assert plan_command.next_words(plan).startswith(words)


def test_a_frozen_install_does_nothing_and_the_plan_says_so() -> None:
    plan = planned(incident())
    assert plan_command.next_words(plan).startswith("disable is done by itself")
    frozen = plan.model_copy(update={"frozen": True})
    assert plan_command.next_words(frozen).startswith("disable would be done by itself, but Keyfuse is frozen")


def test_the_stake_names_its_source() -> None:
    stored = planned(spend=Spend(source="store", usd_per_min=2.0, usual_usd_per_min=0.5))
    assert plan_command.stake_words(stored) == (
        "$2,160.00 in 24 h if nothing is done: $2.00/min, usually $0.50/min "
        "(from the last hour against the week before)"
    )
    assert "the open incident" in plan_command.stake_words(planned(incident()))


def test_a_long_list_of_keys_is_cut_and_counted() -> None:
    words = plan_command.hits_words(tuple(f"key-{n}" for n in range(25)))
    assert words.startswith("25 of keys.yaml: key-0, ")
    assert words.endswith("key-19 and 5 more")
