from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containment.limits import DAY_MS, TEN_MIN_MS, Ledger, Verdict, failed, freeze, judge, unfreeze
from schemas.config.responses import CapsConfig, ResponsesConfig
from schemas.records import Command
from tests.containment.build import T0_MS, command, facts

CONFIG = ResponsesConfig(mode="auto")


def ask(ledger: Ledger, order: Command, *, after_ms: int = 0, **world: Any) -> Verdict:
    usual: dict[str, Any] = {"known_keys": 100, "active_keys": 100, "frozen_file": False, "config": CONFIG}
    return judge(ledger, order, now_ms=T0_MS + after_ms, **usual | world)


def after(*orders: Command, spaced_ms: int = 0, **world: Any) -> tuple[Ledger, list[bool]]:
    ledger, allowed = Ledger(), []
    for n, order in enumerate(orders):
        verdict = ask(ledger, order, after_ms=n * spaced_ms, **world)
        ledger = verdict.ledger
        allowed.append(verdict.allowed)
    return ledger, allowed


@pytest.mark.parametrize(
    ("known", "ran", "next_allowed"), [(1, 0, True), (10, 4, True), (10, 5, False), (400, 7, True), (400, 8, False)]
)
def test_five_keys_or_two_percent_in_ten_minutes(known: int, ran: int, next_allowed: bool) -> None:
    ledger, allowed = after(*(command(f"k{n}") for n in range(ran)), known_keys=known)
    assert all(allowed)
    verdict = ask(ledger, command("next"), known_keys=known)
    assert (verdict.allowed, verdict.rule) == (next_allowed, "within_limits" if next_allowed else "per_10min")


def test_the_cap_opens_again_after_ten_minutes() -> None:
    ledger, _ = after(*(command(f"k{n}") for n in range(5)))
    assert not ask(ledger, command("next"), after_ms=TEN_MIN_MS - 1).allowed
    assert ask(ledger, command("next"), after_ms=TEN_MIN_MS).allowed


def test_ten_percent_in_a_day() -> None:
    ledger, allowed = after(*(command(f"k{n}") for n in range(10)), spaced_ms=TEN_MIN_MS)
    assert all(allowed)
    verdict = ask(ledger, command("next"), after_ms=10 * TEN_MIN_MS)
    assert (verdict.allowed, verdict.rule) == (False, "per_day")
    assert ask(ledger, command("next"), after_ms=DAY_MS).allowed


def test_another_step_on_the_same_key_takes_no_further_place() -> None:
    ledger, _ = after(*(command(f"k{n}", "throttle") for n in range(5)))
    assert ask(ledger, command("k3", "disable")).allowed
    assert not ask(ledger, command("k5", "disable")).allowed


def test_a_replay_is_not_counted_twice() -> None:
    once, _ = after(command("k1"))
    ledger, allowed = after(*[command("k1")] * 50)
    assert all(allowed)
    assert ledger == once


def test_a_replay_long_after_still_keeps_the_cap() -> None:
    """A crash between the verdict and the call: the effect may come only with the replay."""
    ledger, _ = after(command("k0"))
    for n in range(1, 6):
        ledger = ask(ledger, command(f"k{n}"), after_ms=TEN_MIN_MS).ledger
    assert ask(ledger, command("k0"), after_ms=TEN_MIN_MS + 1).rule == "per_10min"


def test_strangers_have_plain_caps_of_their_own_and_freeze_nothing() -> None:
    ledger, allowed = after(
        *(command(f"made-up-{n}") for n in range(50)), stranger=True, known_keys=1000, active_keys=20
    )
    assert allowed == [True] * 5 + [False] * 45
    assert ledger.frozen is None
    verdict = ask(ledger, command("made-up-99"), stranger=True)
    assert (verdict.rule, "not in keys.yaml" in verdict.reason) == ("per_10min", True)
    assert ask(ledger, command("real")).allowed
    assert ask(ledger, command("made-up-99"), stranger=True, after_ms=TEN_MIN_MS).rule == "per_day"


def test_strangers_are_frozen_with_all_others() -> None:
    ledger = freeze(Ledger(), "a drill", by="ann", now_ms=T0_MS)
    assert ask(ledger, command("made-up"), stranger=True).rule == "freeze"


def test_a_small_install_may_make_its_first_cuts() -> None:
    _, allowed = after(command("k1"), command("k2"), known_keys=2, active_keys=2)
    assert allowed == [True, True]


def test_a_clock_that_was_set_back_opens_no_gap() -> None:
    ledger, _ = after(*(command(f"k{n}") for n in range(5)))
    assert ask(ledger, command("next"), after_ms=-3_600_000).rule == "per_10min"


@pytest.mark.parametrize(
    ("active", "flagged", "frozen"), [(100, 20, False), (100, 21, True), (3, 2, False), (3, 3, True)]
)
def test_too_many_flagged_keys_freeze_everything(active: int, flagged: int, frozen: bool) -> None:
    """Dry runs and what waits for a person count as well: they too are what the detectors say."""
    kinds: list[dict[str, Any]] = [{"mode": "observe"}, {"automatic": False, "mode": "approve"}, {}]
    orders = [command(f"k{n}", **kinds[n % 3]) for n in range(flagged)]
    ledger, _ = after(*orders, active_keys=active, known_keys=1000)
    assert (ledger.frozen is not None) is frozen


def test_a_freeze_pages_once_and_stays_until_a_person_lifts_it() -> None:
    orders = [command(f"k{n}") for n in range(30)]
    ledger, pages = Ledger(), []
    for order in orders:
        verdict = ask(ledger, order, known_keys=10_000)
        ledger = verdict.ledger
        pages += [verdict.page] if verdict.page else []
    assert len(pages) == 1
    assert "21 of 100 active keys" in pages[0]
    assert (verdict.allowed, verdict.rule, verdict.reason) == (False, "freeze", pages[0])
    assert ask(ledger, command("later"), after_ms=DAY_MS).rule == "freeze"
    lifted = unfreeze(ledger)
    assert ask(lifted, command("later"), known_keys=10_000).allowed
    assert ask(lifted, command("later"), known_keys=10_000).page is None


def test_flags_older_than_ten_minutes_do_not_add_up_to_a_freeze() -> None:
    ledger, _ = after(*(command(f"k{n}", mode="observe") for n in range(50)), spaced_ms=40_000)
    assert ledger.frozen is None
    assert len(ledger.flagged) == 15


def test_a_freeze_by_hand_keeps_its_first_reason() -> None:
    ledger = freeze(freeze(Ledger(), "drill", by="ann", now_ms=1), "other", by="bob", now_ms=2)
    assert ledger.frozen is not None
    assert (ledger.frozen.reason, ledger.frozen.by, ledger.frozen.since_ms) == ("drill", "ann", 1)


FROZEN = freeze(Ledger(), "drill", by="ann", now_ms=T0_MS)
COOLING = failed(Ledger(), "k1", now_ms=T0_MS, config=CONFIG)


@pytest.mark.parametrize(
    ("ledger", "world", "changes", "rule"),
    [
        (Ledger(), {}, {}, "within_limits"),
        (Ledger(), {"frozen_file": True}, {}, "freeze_file"),
        (FROZEN, {}, {}, "freeze"),
        (COOLING, {}, {}, "cooldown"),
        (Ledger(), {}, {"facts": facts(protected=True)}, "protected"),
        (Ledger(), {"config": ResponsesConfig(protected_keys=("k1",))}, {}, "protected"),
        (Ledger(), {}, {"key_id": " "}, "no_key"),
    ],
)
def test_every_refusal_names_its_rule(
    ledger: Ledger, world: dict[str, Any], changes: dict[str, Any], rule: str
) -> None:
    verdict = ask(ledger, command(**changes), **world)
    assert (verdict.allowed, verdict.rule) == (rule == "within_limits", rule)
    assert verdict.reason


@pytest.mark.parametrize("ledger", [Ledger(), FROZEN, COOLING])
@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"automatic": False, "by": "ann"}, "person"),
        ({"automatic": False, "by": "keyfuse", "approvals": ("ann",)}, "person"),
        ({"step": "restore", "automatic": True}, "restore"),
    ],
)
def test_people_and_restores_are_neither_capped_nor_frozen(ledger: Ledger, changes: dict[str, Any], rule: str) -> None:
    full, _ = after(*(command(f"x{n}") for n in range(5)))
    busy = ledger.model_copy(update={"ran": full.ran})
    verdict = ask(busy, command(**changes, facts=facts(protected=True)), frozen_file=True)
    assert (verdict.allowed, verdict.rule, verdict.ledger) == (True, rule, busy)


def test_a_cool_down_ends() -> None:
    assert ask(COOLING, command(), after_ms=299_999).rule == "cooldown"
    assert ask(COOLING, command(), after_ms=300_000).allowed
    assert ask(COOLING, command("k2")).allowed


def test_the_ledger_survives_a_restart() -> None:
    ledger, _ = after(*(command(f"k{n}") for n in range(4)))
    ledger = failed(freeze(ledger, "drill", by="ann", now_ms=T0_MS), "k1", now_ms=T0_MS, config=CONFIG)
    assert Ledger.from_bytes(ledger.to_bytes()) == ledger


ORDERS = st.lists(
    st.tuples(st.integers(0, 200_000), st.integers(0, 40), st.sampled_from(["throttle", "disable"])), max_size=120
)


@given(
    history=ORDERS,
    known=st.integers(0, 2000),
    cap=st.integers(1, 6),
    share=st.floats(0.001, 0.02),
    freezing=st.booleans(),
)
def test_no_history_touches_more_keys_than_the_cap_in_any_ten_minutes(
    history: list[tuple[int, int, Any]], known: int, cap: int, share: float, freezing: bool
) -> None:
    caps = CapsConfig(per_10min_keys=cap, per_10min_share=share, freeze_share=0.2 if freezing else 1)
    config = ResponsesConfig(mode="auto", caps=caps)
    ledger, now_ms, ran = Ledger(), 0, []
    for pause_ms, key, step in history:
        now_ms += pause_ms
        verdict = ask(ledger, command(f"k{key}", step), after_ms=now_ms, known_keys=known, config=config)
        ledger = verdict.ledger
        ran += [(now_ms, key)] if verdict.allowed else []
    most = max(cap, int(share * known))
    for end_ms, _ in ran:
        assert len({key for at_ms, key in ran if end_ms - TEN_MIN_MS < at_ms <= end_ms}) <= most
