"""What a call is told that breaks a rule; and that the fast way and the plain way always agree."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from controls.policies import Policies
from controls.rules import Ceiling
from schemas.call import Call
from schemas.config.policies import PoliciesConfig, PolicyConfig
from schemas.exception import PolicyException
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts
from tests.controls import policy_reference
from tests.controls.policy_worlds import BEGIN_MS, HOUR_MS, World, worlds

FACTS = KeyFacts(provider="openai", team="search", env="prod")


@settings(max_examples=150, deadline=None)
@given(worlds())
def test_the_remembered_answer_is_the_plain_one(world: World) -> None:
    policies = Policies(world.config, world.exceptions)
    for call in (*world.calls, *reversed(world.calls)):
        facts, entry = world.facts[call.key_id], world.entries[call.key_id]
        told = policies.judge(call, facts, entry)
        plain = policy_reference.first_broken(world.config, world.exceptions, call, facts, entry)
        assert told.rule == plain
        assert told.state == ("deny" if plain else "allow")
        assert bool(told.reason) == bool(plain)


@settings(max_examples=80, deadline=None)
@given(worlds())
def test_the_lowest_ceiling_of_each_window_holds(world: World) -> None:
    policies = Policies(world.config, world.exceptions)
    for call in world.calls:
        key_id, facts, entry = call.key_id, world.facts[call.key_id], world.entries[call.key_id]
        lowest: dict[str, float] = {}
        for source, name, value in policy_reference.in_force(world.config, key_id, facts, entry):
            kind = policy_reference.KINDS.get(name, name)
            if value is not None and "_per_" in kind:
                lifting = policy_reference.lifted(world.exceptions, source, name, key_id, facts, call.at_ms)
                limit = max([value, *(one.limit or 0 for one in lifting)])
                lowest[kind] = min(limit, lowest.get(kind, limit))
        kinds = {("requests", 1): "requests_per_s", ("requests", 60): "requests_per_min",
                 ("tokens", 86_400): "tokens_per_day", ("nano_usd", 86_400): "usd_per_day"}  # fmt: skip
        told = policies.ceilings(key_id, facts, entry, call.at_ms)
        found = {kinds[one.unit, int(one.window_s)]: one.limit / (1e9 if one.unit == "nano_usd" else 1) for one in told}
        assert found == pytest.approx(lowest)


CALL = Call("k1", BEGIN_MS, "gpt-4.1", "/v1/chat/completions", 900, 100, 1, "10.1.2.3", "DE", "https://a.test")


@pytest.mark.parametrize(
    ("rules", "changes", "says"),
    [
        ({"allowed_models": ("gpt-5*",)}, {}, "allows models gpt-5*, and the call has model gpt-4.1"),
        ({"denied_models": ("gpt-4*",)}, {}, "refuses gpt-4*, and the call has model gpt-4.1"),
        ({"denied_models": ("@old",)}, {}, "refuses @old (gpt-4*), and the call has model gpt-4.1"),
        ({"allowed_models": ("gpt-*",)}, {"model": ""}, "the call does not say its model: send it, or set `unseen:"),
        ({"allowed_endpoints": ("/v1/emb*",)}, {}, "allows endpoints /v1/emb*, and the call has endpoint /v1/chat/"),
        ({"networks": ("10.2.0.0/16",)}, {}, "allows addresses 10.2.0.0/16, and the call has address 10.1.2.3"),
        ({"networks": ("::/0",)}, {"ip": "not one"}, "and the call has address not one"),
        ({"countries": ("FR",)}, {}, "allows countries FR, and the call has country DE"),
        ({"max_input_tokens": 800}, {}, "allows 800 input tokens a request, and the call has 900: send less"),
        ({"max_output_tokens": 50}, {}, "50 output tokens a request, and the call asks for 100: set max_tokens lower"),
        ({"max_output_tokens": 50}, {"max_output_tokens": None}, "and the call sets no limit: set max_tokens"),
        ({"hours": {"days": ["mon"]}}, {}, "allows calls mon 00:00-24:00 UTC only"),
    ],
)
def test_a_refusal_says_what_is_allowed_and_what_to_do(
    rules: dict[str, Any], changes: dict[str, Any], says: str
) -> None:
    policy = PolicyConfig.model_validate({"name": "p", **rules})
    told = Policies(PoliciesConfig(policies=(policy,), families={"old": ("gpt-4*",)})).judge(
        CALL._replace(**changes), FACTS
    )
    assert says in told.reason
    assert told.reason.startswith("policy p ")
    assert told.reason.endswith("; ask for an exception with `keyfuse policy except`")
    assert told.rule == f"policy p: {next(iter(rules))}"


def test_an_address_of_the_old_kind_in_new_clothes_is_the_same_address() -> None:
    policies = Policies(PoliciesConfig(policies=(PolicyConfig(name="p", networks=("10.0.0.0/8",)),)))
    assert policies.judge(CALL._replace(ip="::ffff:10.1.2.3"), FACTS).state == "allow"
    assert policies.judge(CALL._replace(ip="::ffff:11.1.2.3"), FACTS).state == "deny"


@pytest.mark.parametrize(
    ("rules", "changes", "state"),
    [
        ({"allowed_models": ("gpt-5*",), "max_output_tokens": 50}, {"model": ""}, "allow"),
        ({"allowed_models": ("gpt-5*",)}, {"model": "gpt-4.1"}, "allow"),
        ({"networks": ("10.2.0.0/16",)}, {}, "deny"),
        ({"networks": ("10.2.0.0/16",)}, {"ip": ""}, "allow"),  # who asks at the door knows the key alone
        ({"countries": ("FR",)}, {}, "deny"),
        ({"allowed_endpoints": ("/v1/emb*",)}, {"endpoint": "/v1/files/f1/content"}, "deny"),
        ({"hours": {"days": ["mon"]}}, {"ip": ""}, "deny"),
    ],
)
def test_where_no_model_is_called_it_still_counts_from_where_to_what_and_when(
    rules: dict[str, Any], changes: dict[str, Any], state: str
) -> None:
    """Whoever stole a key could else read its files and delete them, from anywhere."""
    policies = Policies(PoliciesConfig(policies=(PolicyConfig.model_validate({"name": "p", **rules}),)))
    assert policies.judge(CALL._replace(requests=0, **changes), FACTS).state == state


def test_the_length_is_that_of_one_request() -> None:
    policies = Policies(PoliciesConfig(policies=(PolicyConfig(name="p", max_input_tokens=300),)))
    assert policies.judge(CALL._replace(input_tokens=900, requests=3), FACTS).state == "allow"
    assert "the call has 301" in policies.judge(CALL._replace(input_tokens=901, requests=3), FACTS).reason


def test_less_than_one_request_a_second_is_one_in_a_longer_time() -> None:
    policies = Policies(PoliciesConfig(policies=(PolicyConfig(name="p", requests_per_s=0.25),)))
    ceiling = Ceiling("policy p: requests_per_s", "requests", 4.0, 1.0)
    assert policies.ceilings("k1", FACTS, None, BEGIN_MS) == (ceiling,)


def test_what_a_key_brings_along_holds_besides_the_policies() -> None:
    entry = KeyRecord(
        key_id="k1", seq=0, at_ms=0, by="ann", change="made", kind="virtual", state="active", provider="openai",
        networks=("10.2.0.0/16",), origins=("https://a.test",), quota_requests_per_min=5, quota_usd_per_day=2,
    )  # fmt: skip
    policy = PolicyConfig(name="p", networks=("10.0.0.0/8",), requests_per_min=60)
    policies = Policies(PoliciesConfig(policies=(policy,)))
    assert policies.judge(CALL, FACTS, entry).rule == "key: networks"
    assert policies.judge(CALL._replace(ip="10.2.0.1", origin="https://b.test"), FACTS, entry).rule == "key: origins"
    assert policies.ceilings("k1", FACTS, entry, BEGIN_MS) == (
        Ceiling("key: quota_requests_per_min", "requests", 60, 5),
        Ceiling("key: quota_usd_per_day", "nano_usd", 86_400, 2e9),
    )  # fmt: skip


def test_an_exception_begins_and_ends_by_itself() -> None:
    policy = PolicyConfig(name="p", allowed_models=("gpt-5*",), requests_per_min=5)
    begin_ms = BEGIN_MS + HOUR_MS
    common: dict[str, Any] = {
        "at_ms": 0, "change": "approved", "state": "active", "keys": ("k1",), "from_ms": begin_ms,
        "until_ms": begin_ms + HOUR_MS, "reason": "launch", "owner": "ann", "by": "ann", "asked_at_ms": 0,
        "approved_by": "bob",
    }  # fmt: skip
    exceptions = (
        PolicyException(exception_id="exc_1", rule="models", allows=("gpt-4.1",), **common),
        PolicyException(exception_id="exc_2", rule="requests_per_min", limit=50, **common),
    )
    policies = Policies(PoliciesConfig(policies=(policy,)), exceptions)
    moments = [begin_ms - 1, begin_ms, begin_ms + HOUR_MS - 1, begin_ms + HOUR_MS, begin_ms]
    states = [policies.judge(CALL._replace(at_ms=at_ms), FACTS).state for at_ms in moments]
    limits = [policies.ceilings("k1", FACTS, None, at_ms)[0].limit for at_ms in moments]
    assert states == ["deny", "allow", "allow", "deny", "allow"]
    assert limits == [5, 50, 50, 5, 50]
    assert policies.judge(CALL._replace(key_id="k2", at_ms=begin_ms), FACTS).state == "deny", "it is for one key"
