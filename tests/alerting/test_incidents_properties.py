"""Whatever arrives, in whatever order: one open incident per key, versions that only grow, repeats without effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from alerting.answered import on_request
from alerting.incidents import Change, KeyCase, on_command, on_finding, on_outcome
from alerting.loss import rank
from alerting.silence import on_silence
from alerting.steps import cut_step
from schemas.config import BudgetsConfig, ResponsesConfig
from schemas.records import CLOSED, Command, Incident, StepState
from tests.alerting.test_leaks import leak
from tests.alerting.world import KEY, command, finding, ms, outcome, request

RESPONSES = ResponsesConfig(reopen_after_s=300, resolve_after_s=600)
BUDGETS = BudgetsConfig()
Apply = Callable[[KeyCase | None], Change]
steps = st.sampled_from(["throttle", "block", "disable", "revoke", "restore"])
gaps_s = st.sampled_from([0, 1, 7, 61, 130, 400, 700])


class OneKey(RuleBasedStateMachine):
    """One key's case under any mix of messages, each delivered at least twice."""

    def __init__(self) -> None:
        super().__init__()
        self.case: KeyCase | None = None
        self.now_s = 0.0
        self.told: dict[str, Incident] = {}
        self.order: list[str] = []
        self.sent: list[Apply] = []

    def send(self, apply: Apply) -> Change:
        change = apply(self.case)
        self.check(change)
        self.case = change.case
        self.sent.append(apply)
        again = apply(self.case)
        assert (again.case, again.incidents) == (self.case, ()), "the same message twice changes nothing"
        assert change.reason
        return change

    def check(self, change: Change, most: int = 1) -> None:
        assert len(change.incidents) <= most
        for new in change.incidents:
            last = self.told.get(new.incident_id)
            assert new.seq == (last.seq + 1 if last else 1)
            if last is None:
                open_before = [each for each in self.told.values() if each.state not in CLOSED]
                assert open_before == [], "two open incidents for one key"
                self.order.append(new.incident_id)
            else:
                assert new.incident_id == self.order[-1], "an old incident speaks after a newer one was opened"
                assert new.updated_at_ms >= last.updated_at_ms
                assert new.lost_usd >= last.lost_usd
                assert rank(new.severity) >= rank(last.severity)
            assert new.transition
            self.told[new.incident_id] = new

    @rule(
        gap_s=gaps_s,
        family=st.sampled_from(["velocity", "economics", "policy", "mix"]),
        usd=st.sampled_from([0.0, 0.2, 3.0, 80.0]),
        late_s=st.sampled_from([0, 0, 20]),
    )
    def a_finding(self, gap_s: int, family: str, usd: float, late_s: int) -> None:
        self.now_s += gap_s
        one = finding(self.now_s - late_s, family, usd_per_min=usd)
        open_before = self.case.open if self.case else None
        seen_before = self.case.seen.get(f"{one.family}/{one.detector}", -1) if self.case else -1
        never_closed = self.case is None or self.case.closed_at_ms is None
        change = self.send(lambda case: on_finding(case, one, responses=RESPONSES, budgets=BUDGETS))
        if one.at_ms > seen_before and open_before is None and never_closed:
            assert change.incidents, "the first alert is never lost"
        if one.at_ms > seen_before and open_before is not None and family not in open_before.families:
            assert change.incidents, "a new family is always told"

    @rule(
        gap_s=gaps_s, place=st.integers(0, 9), verified=st.booleans(), confidence=st.sampled_from(["low", "high"]),
        ahead_s=st.sampled_from([0.0, 5.0, 86_400.0]),
    )  # fmt: skip
    def a_report(self, gap_s: int, place: int, verified: bool, confidence: str, ahead_s: float) -> None:
        """By the wall clock, which may be far ahead of event time."""
        self.now_s += gap_s
        one = leak(self.now_s + ahead_s, url=f"https://p/{place}", verified=verified, confidence=confidence)
        before = self.case.open if self.case else None
        change = self.send(lambda case: on_finding(case, one, responses=RESPONSES, budgets=BUDGETS))
        after = change.case.open
        if before is not None and after is not None:
            assert (after.usd_per_min, after.lost_usd) == (before.usd_per_min, before.lost_usd)

    @rule(
        gap_s=gaps_s,
        step=steps,
        by=st.sampled_from(["keyfuse", "ada"]),
        state=st.sampled_from([StepState.REQUESTED, StepState.AWAITING_APPROVAL]),
    )
    def a_command(self, gap_s: int, step: Any, by: str, state: StepState) -> None:
        self.now_s += gap_s
        at_ms = ms(self.now_s)
        known = self.case.incident if self.case else None
        incident_id = known.incident_id if known else f"manual-{self.now_s}"
        one = command(
            step, self.now_s, by=by, automatic=by == "keyfuse", incident_id=incident_id,
            command_id=Command.id_of(incident_id, KEY, step),
        )  # fmt: skip
        self.send(lambda case: on_command(case, one, state, at_ms=at_ms))

    @rule(gap_s=gaps_s, step=steps, state=st.sampled_from(list(StepState)))
    def an_outcome(self, gap_s: int, step: Any, state: StepState) -> None:
        self.now_s += gap_s
        at_ms = ms(self.now_s)
        known = self.case.incident if self.case else None
        incident_id = known.incident_id if known else f"lost-{self.now_s}"
        one = outcome(
            step, state, self.now_s, incident_id=incident_id, command_id=Command.id_of(incident_id, KEY, step)
        )
        change = self.send(lambda case: on_outcome(case, one, at_ms=at_ms))
        if state == StepState.IRREVOCABLE and change.reason != "repeat":
            (told,) = change.incidents
            assert (told.state, told.severity) == ("open", "critical")

    @rule(
        gap_s=gaps_s,
        action=st.sampled_from(["acknowledge", "resolve", "false_positive", "restore", "snooze", "expected", "reject"]),
        for_s=st.sampled_from([-1, 30, 400, 90_000]),
    )
    def a_person(self, gap_s: int, action: str, for_s: int) -> None:
        self.now_s += gap_s
        at_ms = ms(self.now_s)
        one = request(action, self.now_s, until_ms=ms(self.now_s + for_s))
        self.send(lambda case: on_request(case, one, at_ms=at_ms))

    @rule(gap_s=gaps_s)
    def silence(self, gap_s: int) -> None:
        self.now_s += gap_s
        if self.case is not None:
            clock_ms = ms(self.now_s)
            change = on_silence(self.case, clock_ms, responses=RESPONSES)
            self.check(change, most=3)  # a clock that jumps ends what waits, the snooze and the incident at once
            for told in change.incidents:
                assert told.state not in CLOSED or not told.leaks or cut_step(told), (
                    "silence ended a leak while the key works"
                )
            self.case = change.case
            again = on_silence(self.case, clock_ms, responses=RESPONSES)
            assert (again.case, again.incidents) == (self.case, ())

    @rule(back=st.integers(min_value=1, max_value=30))
    def a_crash_replays_the_last_messages(self, back: int) -> None:
        before = self.case
        for apply in self.sent[-back:]:
            change = apply(self.case)
            assert change.incidents == (), "a replay told something again"
            self.case = change.case
        assert self.case == before

    @invariant()
    def what_is_remembered_is_what_was_told(self) -> None:
        if self.case is None or self.case.incident is None:
            assert self.told == {}
            return
        now, told = self.case.incident, self.told[self.order[-1]]
        assert (now.incident_id, now.seq, now.state) == (told.incident_id, told.seq, told.state)

    @invariant()
    def what_is_over_asks_nobody_for_anything(self) -> None:
        if self.case is not None and self.case.open is None and self.case.incident is not None:
            over = self.case.incident
            assert over.snoozed_until_ms is None

    @invariant()
    def it_can_be_stored_and_is_small(self) -> None:
        if self.case is not None:
            data = self.case.to_bytes()
            assert KeyCase.from_bytes(data) == self.case
            assert len(data) < 16_384


TestOneKey = OneKey.TestCase
TestOneKey.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(st.lists(st.tuples(gaps_s, st.sampled_from([0.0, 0.2, 3.0, 80.0])), max_size=20))
@settings(max_examples=50, deadline=None)
def test_lost_money_is_bounded_by_the_highest_rate_over_all_the_time(pace: list[tuple[int, float]]) -> None:
    case, now_s = None, 0
    for gap_s, usd in pace:
        now_s += gap_s
        case = on_finding(
            case, finding(now_s, usd_per_min=usd, expected_usd_per_min=0.0), responses=RESPONSES, budgets=BUDGETS
        ).case
    if case is not None and case.incident is not None:
        assert 0 <= case.incident.lost_usd <= 80.0 * (now_s / 60 + 1) + 1e-6


@pytest.mark.parametrize("pairs", [300])
def test_memory_of_detectors_is_bounded(pairs: int) -> None:
    case = None
    for n in range(pairs):
        one = finding(n, detector=f"d{n}")
        case = on_finding(case, one, responses=RESPONSES, budgets=BUDGETS).case
    assert case is not None
    assert len(case.seen) == 64
    assert f"velocity/d{pairs - 1}" in case.seen
