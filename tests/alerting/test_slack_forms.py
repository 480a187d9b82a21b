"""Forms: nothing foreign in them is more than text, and what they remember comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alerting.answers.plans import KillList, KillOrder
from alerting.answers.slack_forms import (
    Origin,
    contain_form,
    expected_form,
    false_positive_form,
    kill_form,
    message_form,
    until_problem,
)
from schemas.records import EXPECTED_MAX_MS
from tests.alerting.slack_bench import PLAN
from tests.alerting.slack_limits import check_view, texts
from tests.alerting.test_slack_buttons import assert_escaped, evil
from tests.alerting.world import FACTS

ORIGIN = Origin("inc_1", "C0123", "https://hooks.slack.com/x", keys=2)


@given(evil)
def test_no_foreign_text_reaches_a_form_unescaped(text: str) -> None:
    steps = tuple(step._replace(name=text, undo=text, breaks=text, also_hits=text, state=text) for step in PLAN.steps)
    plan = PLAN._replace(about=((text, text),), next=text, at_stake=text, steps=steps)
    killed = KillList((text, text), (KillOrder(text, "disable", FACTS),))
    for view in (
        contain_form(ORIGIN, plan), contain_form(ORIGIN, plan._replace(steps=(), why_none=text)),
        kill_form(ORIGIN, killed), message_form("kill", text),
    ):  # fmt: skip
        check_view(view)
        for shown in texts(view["blocks"]):
            assert_escaped(shown)


@given(st.text(max_size=50), st.text(max_size=50), st.integers(min_value=0, max_value=500))
def test_what_a_form_remembers_comes_back(incident_id: str, asked: str, keys: int) -> None:
    origin = Origin(incident_id, "C0123", "https://x", asked, "kill_1", keys)
    assert Origin.of(false_positive_form(origin)["private_metadata"]) == origin


def test_the_time_that_is_offered_is_one_that_is_taken() -> None:
    now_ms = 1_795_428_123_456
    view = expected_form(ORIGIN, now_ms=now_ms)
    check_view(view)
    (offered_s,) = [
        block["element"]["initial_date_time"] for block in view["blocks"] if block.get("block_id") == "until"
    ]  # fmt: skip
    assert offered_s % 900 == 0
    assert until_problem(offered_s * 1000, now_ms=now_ms) == ""
    assert until_problem(now_ms + EXPECTED_MAX_MS, now_ms=now_ms) == ""
