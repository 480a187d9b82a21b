"""`keyfuse policy explain`, `test` and `diff`, as a person reads them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from service import policy_cases, policy_diff, policy_explain
from service.config_errors import ConfigErrors
from service.errors import UserError
from service.policy_explain import Asked
from tests.service.folder import FolderWith

POLICIES = """\
families:
  small: ["*-mini"]
policies:
  - name: cheap
    envs: [dev]
    allowed_models: ["@small"]
    max_output_tokens: 2000
    requests_per_min: 60
  - name: office
    teams: [search]
    networks: ["10.0.0.0/8"]
    requests_per_min: 30
"""
KEYS = "keys:\n  - key_id: k1\n    provider: openai\n    team: search\n    env: dev\n    countries: [DE]\n"
AT = "2026-11-23T10:00:00Z"
Say = Callable[..., str]


@pytest.fixture
def config(folder_with: FolderWith, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEYFUSE_PEPPER", "pepper of the tests")
    return folder_with(policies=POLICIES, keys=KEYS)


def said(command: Callable[..., object], *given: Any, **named: Any) -> str:
    out = Console(file=io.StringIO(), width=400, highlight=False, soft_wrap=True)
    command(*given, **named, out=out)
    text = out.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def explained(config: Path, key_id: str, call: Asked, *, as_json: bool = False, **scope: str) -> str:
    return said(policy_explain.explain, config, key_id, call, scope=scope, as_json=as_json)


def test_every_rule_is_explained_with_where_it_is_written(config: Path) -> None:
    lines = explained(config, "k1", Asked(model="gpt-5", ip="10.1.2.3", max_output_tokens=9, at=AT)).splitlines()
    rules = [line.split(". ", 1)[1] for line in lines if line[:4].strip().rstrip(".").isdigit()]
    assert [" ".join(rule.split()) for rule in rules] == [
        "policy cheap: allowed_models @small (policies.yaml:6) REFUSES",
        "policy cheap: max_output_tokens 2,000 (policies.yaml:7) passes",
        "policy cheap: requests_per_min 60 (policies.yaml:8)",
        "policy office: networks 10.0.0.0/8 (policies.yaml:11) passes",
        "policy office: requests_per_min 30 (policies.yaml:12)",
        "key: countries DE (keys.yaml:6) not said",
    ]
    text = "\n".join(lines)
    assert "    30 requests a minute          policy office: requests_per_min" in text
    assert (
        "the call is refused by policy cheap: allowed_models: policy cheap allows models @small (*-mini), and the "
        "call has model gpt-5" in text
    )
    assert "issued keys and exceptions are not known here: nothing runs in" in text


def test_what_becomes_of_models_without_a_price_is_said_where_a_limit_in_usd_holds(config: Path) -> None:
    asked = Asked(model="brand-new-mini", max_output_tokens=9, ip="10.0.0.1", country="DE", at=AT)
    assert "at a gate" not in explained(config, "k1", asked)
    (config / "budgets.yaml").write_text(
        "budgets:\n- {name: search, teams: [search], usd: 5, hard_stop: true, owner: ana}\n"
    )

    text = explained(config, "k1", asked)

    assert (
        "at a gate a call whose model has no known price, or is not said, is refused, because budget search limits USD "
        "(gate.unpriced: dev)" in text
    )
    assert "budgets are the gate's. brand-new-mini has no known price" in text
    assert "budgets are the gate's\n" in explained(config, "k1", asked._replace(model="gpt-4o-mini"))
    told = json.loads(explained(config, "k1", asked, as_json=True))
    assert (told["usd_limit"], told["unpriced"]) == ("budget search", "refuse")
    (config / "keyfuse.yaml").write_text("gate: {unpriced: {dev: 2.5}}\n")
    assert "is counted in budget search at 2.5 USD for a million tokens" in explained(config, "k1", asked)


def test_a_key_that_does_not_exist_yet_is_explained_by_its_scope(config: Path) -> None:
    text = explained(config, "new", Asked(at=AT), team="search", env="prod")
    assert "1. policy office: networks" in text
    assert "    cheap: for env dev (policies.yaml:4)" in text
    with pytest.raises(UserError, match="new is not registered; say what it would be with --team, --app and --env"):
        explained(config, "new", Asked())


def test_the_same_for_programs(config: Path) -> None:
    told = json.loads(explained(config, "k1", Asked(model="x-mini", at=AT), as_json=True))
    assert [rule["call"] for rule in told["rules"]] == ["passes", "not said", "", "not said", "", "not said"]
    assert told["ruling"]["rule"] == "policy cheap: max_output_tokens", "what the call does not say is refused"
    assert told["at"] == "2026-11-23T10:00:00.000Z"


CASES = """\
defaults: {env: dev, max_output_tokens: 100}
cases:
  - name: small ones pass
    model: [a-mini, b-mini]
    expect: allow
  - {name: big ones do not, model: [gpt-5, o3], expect: deny, rule: allowed_models, reason: "@small (*-mini)"}
  - {name: too long, model: a-mini, max_output_tokens: 2001, rule: "cheap: max_output_tokens"}
  - {name: sixty, ceilings: {requests_per_min: 60, tokens_per_day: 0}}
  - {name: of two the lower, team: search, ceilings: {requests_per_min: 30}}
  - {name: where it comes from, key: k1, env: prod, ip: 10.0.0.1, country: DE, at: 2026-11-28, expect: allow}
"""


def cases(config: Path, text: str, *, as_json: bool = False) -> tuple[bool, str]:
    file = config.parent / "cases.yaml"
    file.write_text(text)
    passed: list[bool] = []
    told = said(lambda **given: passed.append(policy_cases.run(config, [file], **given)), as_json=as_json)
    return passed[0], told


def test_a_table_that_holds_says_which_rules_it_does_not_try(config: Path) -> None:
    passed, told = cases(config, CASES)
    assert passed, told
    assert told == "8 calls as expected, 0 not\nno case is refused by:\n    policy office: networks\n"


@pytest.mark.parametrize(
    ("case", "wrong"),
    [
        ("{name: n, model: gpt-5, expect: allow}",
         "expected allow, got refused by policy cheap: allowed_models: policy cheap allows models @small (*-mini), and "
         "the call has model gpt-5"),
        ("{name: n, model: a-mini, expect: deny}", "expected deny, got allowed"),
        ("{name: n, model: a-mini, rule: allowed_models}", "expected deny by allowed_models, got allowed"),
        ("{name: n, model: gpt-5, rule: networks}", "expected the rule networks, got refused by policy cheap:"),
        ("{name: n, model: gpt-5, reason: nothing like it}", "expected a reason with 'nothing like it', got refused"),
        ("{name: n, ceilings: {requests_per_min: 61}}",
         "expected requests_per_min 61, got 60 by policy cheap: requests_per_min"),
        ("{name: n, ceilings: {tokens_per_s: 1}}", "expected tokens_per_s 1, got none"),
        ("{name: n, ceilings: {requests: 1}}", "requests is no ceiling: requests_per_s"),
    ],
)  # fmt: skip
def test_a_case_that_comes_out_otherwise_is_told_with_its_line(config: Path, case: str, wrong: str) -> None:
    text = f"defaults: {{env: dev, max_output_tokens: 1}}\ncases:\n  - {case}\n"
    passed, told = cases(config, text)
    assert not passed
    head, _, got, *_ = told.splitlines()
    assert head.endswith("cases.yaml:3  n")
    assert wrong in got
    facts = json.loads(cases(config, text, as_json=True)[1])
    assert wrong in facts["failed"][0]["wrong"]


@pytest.mark.parametrize(
    ("text", "error"),
    [("cases:\n  - {nam: x}\n", 'did you mean "name"'), ("cases:\n  - {name: x, input_tokens: -1}\n", "input_tokens")],
)
def test_a_wrong_file_is_told_like_a_configuration(config: Path, text: str, error: str) -> None:
    with pytest.raises(ConfigErrors, match=error):
        cases(config, text)


def test_a_file_without_cases_is_no_test(config: Path) -> None:
    with pytest.raises(UserError, match="there is no case in it"):
        cases(config, "cases: []\n")


def events(path: Path) -> str:
    plain: dict[str, Any] = {
        "provider": "openai", "key_id": "k1", "team": "search", "app": "chat", "env": "dev", "status": 200,
        "input_tokens": 10, "output_tokens": 5, "model": "a-mini", "ip": "10.0.0.1", "cost_usd": 0.5,
    }  # fmt: skip
    rows: list[dict[str, Any]] = [
        *({"ts": f"2026-11-23T10:00:{second:02}Z"} for second in range(0, 50, 10)),
        {"ts": "2026-11-23T11:00:00Z", "model": "gpt-5"},
        {"ts": "2026-11-23T11:00:01Z", "model": "gpt-5", "status": 403},
        {"ts": "2026-11-23T11:00:02Z", "key_id": "k2", "team": "ads", "env": "prod", "model": "gpt-5", "cost_usd": 2},
        {"ts": "2026-11-23T11:00:03Z", "ip": None},
    ]  # fmt: skip
    with path.open("wb") as stream:
        for number, row in enumerate(rows):
            event = {name: value for name, value in {**plain, **row}.items() if value is not None}
            stream.write(orjson.dumps(event | {"event_id": f"e{number}"}) + b"\n")
    return str(path)


def compared(config: Path, policies: str, *, as_json: bool = True) -> Any:
    other = config.parent / "new.d"
    other.mkdir()
    (other / "policies.yaml").write_text(policies)
    (other / "keys.yaml").write_text(KEYS)
    file = events(config.parent / "day.jsonl")
    err = Console(file=io.StringIO())
    text = said(policy_diff.diff, config, other, (file,), days=None, as_json=as_json, err=err)
    return json.loads(text) if as_json else text


def test_what_a_change_would_have_refused_and_allowed(config: Path) -> None:
    told = compared(config, "policies:\n- {name: no big ones, denied_models: [gpt-5], envs: [prod]}\n"
                            "- {name: slow, requests_per_min: 4, teams: [search]}\n")  # fmt: skip
    assert told["seen"] == {"events": 8, "requests": 8, "usd": 5.5}
    assert told["refused_when_made"]["events"] == 1
    refused = told["would_be_refused"]
    assert {rule: (group["events"], group["usd"]) for rule, group in refused["by_rule"].items()} == {
        "policy slow: requests_per_min": (1, 0.5), "policy no big ones: denied_models": (1, 2.0),
    }  # fmt: skip
    assert {key: group["rules"] for key, group in refused["by_key"].items()} == {
        "k1": {"policy slow: requests_per_min": 1}, "k2": {"policy no big ones: denied_models": 1},
    }  # fmt: skip
    [example] = refused["by_rule"]["policy no big ones: denied_models"]["examples"]
    assert (example["key_id"], example["model"]) == ("k2", "gpt-5")
    assert example["reason"] == "policy no big ones refuses gpt-5, and the call has model gpt-5"
    allowed = told["would_be_allowed"]
    assert {rule: group["events"] for rule, group in allowed["by_rule"].items()} == {"policy cheap: allowed_models": 1}


def test_the_same_policies_change_nothing(config: Path) -> None:
    text = compared(config, POLICIES, as_json=False)
    assert "would have been refused by the change: nothing" in text
    assert "would have been allowed by the change: nothing" in text
    assert "refused by both: 1 request, $0.50" in text


def test_people_see_rules_keys_and_examples(config: Path) -> None:
    text = compared(config, "policies:\n- {name: home, countries: [FR]}\n- {name: mini, denied_models: ['*-mini']}\n",
                    as_json=False)  # fmt: skip
    assert "would have been refused by the change: 6 requests, $3.00 of 1 key (54.5 % of the USD)" in text
    assert "    policy mini: denied_models: 6 requests, $3.00, 1 key" in text
    assert "        2026-11-23T10:00:00.000Z k1: policy mini refuses *-mini, and the call has model a-mini" in text
    assert "    k1 (search/chat in dev): 6 requests, $3.00, 85.7 % of its requests; policy mini: denied_models" in text
