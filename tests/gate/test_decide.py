"""What a gate answers, plane by plane."""

from __future__ import annotations

from typing import Any

import pytest

from controls.budgets import Budgets
from gate.ports import Rate
from schemas.config.budgets import BudgetConfig, BudgetsConfig, DegradeConfig
from schemas.config.wiring import GateConfig
from schemas.key_record import KeyRecord, LifeState
from schemas.verdict import GateVerdict
from tests.gate.world import KEY, NOW_MS, USD, Gate, Rules, status

STOP = BudgetConfig(name="month", usd=1, hard_stop=True, owner="bo")
DEGRADE = DegradeConfig(models={"dear*": "cheap"}, apps=("shop",))


def record(state: LifeState = "active", **changes: Any) -> KeyRecord:
    return KEY.record().model_copy(update={"kind": "virtual", "state": state, "seq": 1, **changes})


def test_a_call_that_nothing_speaks_against_is_allowed_and_reserved() -> None:
    answer = Gate().ask()

    assert answer.state == "allow"
    assert answer.reservation
    assert (answer.rule, answer.reason) == ("", "")


def test_a_verdict_denies_with_its_reason_and_names_the_backup() -> None:
    gate = Gate()

    gate.verdict("deny", use_instead="k2")

    answer = gate.ask()
    assert (answer.state, answer.use_instead) == ("deny", "k2")
    assert answer.rule == "verdict of incident inc_1"
    assert "ask team search" in answer.reason
    assert not answer.reservation


def test_a_denied_key_stays_denied_until_a_verdict_says_otherwise() -> None:
    gate = Gate()
    gate.verdict("deny")

    gate.at_ms = 10 * 366 * 86_400_000
    assert gate.ask().state == "deny"

    gate.verdict("allow")
    assert gate.ask().state == "allow"


def test_a_throttled_key_gets_a_few_requests_a_minute() -> None:
    gate = Gate(settings=GateConfig(throttled_requests_per_min=2))
    gate.verdict("throttle")

    states = [gate.ask().state for _ in range(3)]

    assert states == ["allow", "allow", "throttle"]
    wait_s = gate.ask().retry_after_s
    assert wait_s is not None
    gate.at_ms = round(wait_s * 1000)
    assert gate.ask().state == "allow"


def test_a_degraded_key_goes_on_with_a_model_that_a_budget_approved() -> None:
    gate = Gate(budgets=(STOP.model_copy(update={"degrade": DEGRADE}),))

    gate.verdict("degrade")

    answer = gate.ask(model="dear")
    assert (answer.state, answer.model) == ("degrade", "cheap")


def test_calls_of_a_degraded_key_that_have_a_cheaper_model_do_not_free_those_that_have_none() -> None:
    gate = Gate(
        budgets=(STOP.model_copy(update={"degrade": DEGRADE}),), settings=GateConfig(throttled_requests_per_min=2)
    )
    gate.verdict("degrade")

    states = [gate.ask(model=model, output=10).state for model in ("dear", "cheap") * 4]

    assert (states[0::2], states[1::2]) == (["degrade"] * 4, ["allow", *["throttle"] * 3])


def test_what_a_call_did_not_use_is_free_again_though_other_ceilings_hold_by_now() -> None:
    tokens = Rate("policy p: tokens", "tokens", 86_400, 300)
    gate = Gate(rules=Rules(limits=(tokens,)))
    under_way = gate.ask(tokens=200)

    gate.rules.limits = (tokens, Rate("policy p: requests", "requests", 60, 100))
    assert gate.ask(tokens=200).state == "throttle"
    gate.settle(under_way, tokens=50)

    assert gate.ask(tokens=200).state == "allow"
    assert gate.ask(tokens=100).state == "throttle", "and counted once"


def test_a_degraded_key_without_a_cheaper_model_is_throttled() -> None:
    gate = Gate(settings=GateConfig(throttled_requests_per_min=1))

    gate.verdict("degrade")

    assert [gate.ask().state for _ in range(2)] == ["allow", "throttle"]


@pytest.mark.parametrize(
    ("entry", "rule", "words"),
    [
        (record("pending"), "life of the key: pending", "waits for its approver"),
        (record("disabled"), "life of the key: disabled", "owner ana"),
        (record("retired", replaced_by="k2"), "life of the key: retired", "replaced"),
        (record("refused"), "life of the key: refused", "not approved"),
        (record(expires_ms=NOW_MS), "life of the key: active", "expired at 2026-11-23"),
        (record("retiring", valid_until_ms=NOW_MS, replaced_by="k2"), "life of the key: retiring", "replaced by k2"),
    ],
)
def test_a_key_that_is_not_served_is_denied_with_what_to_do(entry: KeyRecord, rule: str, words: str) -> None:
    gate = Gate(keys=())

    gate.known.record(entry)

    answer = gate.ask()
    assert (answer.state, answer.rule) == ("deny", rule)
    assert words in answer.reason
    assert answer.use_instead == entry.replaced_by


def test_the_newest_record_of_a_key_holds_in_whatever_order_they_come() -> None:
    gate = Gate(keys=())

    gate.known.record(record("disabled", seq=3))
    gate.known.record(record("active", seq=2))

    assert gate.ask().state == "deny"


def test_a_key_that_nobody_registered_passes_unless_the_setting_says_otherwise() -> None:
    assert Gate(keys=()).ask("stranger").state == "allow"

    strict = Gate(keys=(), settings=GateConfig(unknown_keys="deny")).ask("stranger")

    assert (strict.state, strict.rule) == ("deny", "gate.unknown_keys")


def test_a_policy_denies_by_its_rule() -> None:
    answer = Gate(rules=Rules(denied_models=frozenset({"dear"}))).ask(model="dear")

    assert (answer.state, answer.rule) == ("deny", "policy small: allowed_models")


def test_a_cheaper_model_that_policies_forbid_is_not_answered() -> None:
    gate = Gate(rules=Rules(denied_models=frozenset({"cheap"})), budgets=(BudgetConfig(name="m", degrade=DEGRADE),))
    gate.known.stands(status("m", degrade={"dear*": "cheap"}))

    assert gate.ask(model="dear").state == "deny"


def test_a_tight_budget_degrades_the_apps_that_agreed() -> None:
    agreed, other = KEY, KEY.model_copy(update={"key_id": "k2", "app": "chat"})
    gate = Gate(keys=(agreed, other), budgets=(BudgetConfig(name="m", usd=10, degrade=DEGRADE),))
    assert gate.ask("k1").state == "allow"

    gate.known.stands(status("m", degrade={"dear*": "cheap"}, level="degraded"))

    answer = gate.ask("k1")
    assert (answer.state, answer.model, answer.rule) == ("degrade", "cheap", "budget m")
    assert answer.reason == "budget m is at 85 % of its month"
    assert answer.reservation
    assert gate.ask("k2").state == "allow"
    assert gate.ask("k1", model="cheap").state == "allow"


def test_a_hard_stop_denies_what_would_pass_it_and_says_what_is_left() -> None:
    gate = Gate(budgets=(STOP,))
    gate.known.stands(status("month", spent=0.9, limit=1))

    answer = gate.ask(tokens=20_000_000)

    assert (answer.state, answer.rule) == ("deny", "budget month")
    assert answer.reason == "budget month of 2026-11 has $0.10 left of $1.00: ask bo"
    assert answer.retry_after_s == 3600
    assert gate.ask(tokens=10_000_000).state == "allow"  # $0.10, to the cent
    assert gate.ask(tokens=1).state == "deny"


def test_what_a_call_did_not_use_is_free_again() -> None:
    gate = Gate(budgets=(STOP,))
    first = gate.ask(tokens=0, output=10_000_000)  # all of it
    assert gate.ask(tokens=100).state == "deny"

    gate.settle(first, output=1_000_000)

    assert gate.ask(tokens=0, output=9_000_000).state == "allow"
    assert gate.ask(tokens=1).state == "deny"


def test_a_cost_that_the_gateway_names_is_taken_for_true() -> None:
    gate = Gate(budgets=(STOP,))

    gate.settle(gate.ask(tokens=100), tokens=100, cost=1_000_000_000)

    assert gate.ask(tokens=1).state == "deny"


def test_settling_twice_counts_once_and_a_stranger_counts_for_nothing() -> None:
    gate = Gate(budgets=(STOP,))
    answer = gate.ask(tokens=0, output=1_000_000)

    assert gate.settle(answer, output=1_000_000).state == "settled"
    twice = gate.settle(answer, output=1_000_000)
    stranger = gate.settle(answer._replace(reservation="r9"))

    assert (twice.state, stranger.state) == ("already", "unknown")
    assert "another replica" in stranger.reason
    assert gate.ask(tokens=0, output=9_000_000).state == "allow"


def test_a_call_that_nobody_settles_counts_at_what_was_reserved() -> None:
    gate = Gate(budgets=(STOP,), settings=GateConfig(reservation_s=60))
    answer = gate.ask(tokens=0, output=10_000_000)

    gate.at_ms = 60_000
    assert gate.decider.expire(NOW_MS + gate.at_ms, gate.at_ms) == 1

    assert gate.settle(answer).state == "late"
    assert gate.ask(tokens=1).state == "deny"


def test_a_call_takes_nothing_unless_every_rule_has_room() -> None:
    plenty, little = Rate("plenty", "requests", 60, 10), Rate("little", "tokens", 60, 100)
    gate = Gate(rules=Rules(limits=(plenty, little)))

    states = [gate.ask(tokens=90).state for _ in range(20)]

    assert states == ["allow"] + ["throttle"] * 19
    gate.rules.limits = (plenty,)
    assert [gate.ask().state for _ in range(10)] == ["allow"] * 9 + ["throttle"]


def test_a_call_that_alone_passes_a_ceiling_is_denied_not_put_off() -> None:
    gate = Gate(rules=Rules(limits=(Rate("policy x: tokens_per_min", "tokens", 60, 1000),)))

    answer = gate.ask(tokens=600, output=600)

    assert (answer.state, answer.rule, answer.retry_after_s) == ("deny", "policy x: tokens_per_min", None)
    assert answer.reason == "this call alone may take 1,200, and the ceiling is 1,000 tokens in 60 s: ask for less"


def test_a_call_without_a_limit_of_its_own_is_taken_at_the_settings() -> None:
    rules = Rules(limits=(Rate("t", "tokens", 60, 1000),))

    assert Gate(rules=rules, settings=GateConfig(max_output_tokens=2000)).ask(output=None).state == "deny"
    assert Gate(rules=rules, settings=GateConfig(max_output_tokens=500)).ask(output=None).state == "allow"


def test_many_requests_in_one_question_count_as_many() -> None:
    gate = Gate(rules=Rules(limits=(Rate("r", "requests", 60, 5),)))

    assert [gate.ask(requests=3).state for _ in range(2)] == ["allow", "throttle"]


def test_the_verdict_of_an_incident_and_the_providers_own_hold_side_by_side() -> None:
    gate = Gate()
    own = GateVerdict(key_id="k1", state="deny", reason="r", incident_id="", at_ms=NOW_MS, source="provider")

    gate.verdict("throttle")
    gate.known.judged(own)
    assert gate.ask().state == "deny"

    gate.known.judged(own.model_copy(update={"state": "allow"}))
    assert [gate.ask().state for _ in range(7)][-2:] == ["allow", "throttle"]
    gate.verdict("allow")
    assert gate.ask().state == "allow"


def test_a_question_about_the_key_alone_is_no_call_and_reserves_nothing() -> None:
    """A gateway asks so when a client comes in, before it knows which model is called."""
    gate = Gate(rules=Rules(frozenset({""})))

    assert gate.ask(model="").state == "deny"
    assert gate.ask(model="", requests=0) == ("allow", "k1", "", "", None, "", "", "")
    gate.verdict("deny")
    assert gate.ask(requests=0).state == "deny"


def test_a_keys_quota_of_a_day_counts_what_other_gates_and_starts_let_through() -> None:
    quota = Rate("key k1: quota_usd_per_day", "nano_usd", 86_400, 5 * USD)
    gate = Gate(rules=Rules(limits=(quota,)))
    states = []
    for spent in (3.0, 4.999999):  # in USD; a call may take 1,000 nano-USD
        gate.known.stands(status("quota of k1", spent=spent, limit=5))
        states.append(gate.ask().state)
    gate.known.stands(status("quota of k1", spent=5, limit=5))
    refused = gate.ask()
    assert (states, refused.state, refused.rule) == (["allow", "allow"], "throttle", quota.rule)
    assert refused.retry_after_s == 3_600, "until the day is over"
    gate.at_ms = 3_600_000
    assert gate.ask().state == "allow", "what was seen is of the day before"


def test_a_budget_of_a_key_stops_it_and_its_successor_together() -> None:
    """Both are served while the rotation's overlap lasts, and the budget has room once."""
    gate = Gate()
    budget = BudgetConfig(name="of k1", keys=("k1",), usd=3e-6, hard_stop=True)  # three calls of 1,000 nano-USD
    gate.decider.planes.budgets = Budgets(BudgetsConfig(budgets=(budget,)))
    assert gate.ask().state == "allow"
    gate.known.record(record("retiring", valid_until_ms=NOW_MS + 1000, replaced_by="k2"))
    for key_id, line in (("k2", ("k1",)), ("k3", ("k1", "k2"))):
        gate.known.record(record(key_id=key_id, formerly=line))
    assert [gate.ask(key_id).state for key_id in ("k2", "k3")] == ["allow", "allow"]
    assert [gate.ask(key_id).state for key_id in ("k1", "k2", "k3")] == ["deny", "deny", "deny"]
    gate.known.record(record(key_id="k4"))
    assert gate.ask("k4").state == "allow", "another line"
