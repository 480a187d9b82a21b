"""The borrower, word by word."""

from __future__ import annotations

from gate.lease import Borrower, Room
from schemas.lease import MEMBERS, Lease, LeaseAsk, LeaseLine, LenderTerm

POT = "search/usd"


def borrower() -> Borrower:
    made = Borrower("a", "1")
    made.watch({POT: 50})
    made.heard(LenderTerm(lender="l", epoch=1, state="begins"))
    return made


def lease(answers: int, cap: int, *, seq: int = 1, period: str = "2026-11", **other: object) -> Lease:
    said: dict[str, object] = {
        "lender": "l", "epoch": 1, "replica": "a", "boot": "1", "pot": POT, "period": period, "seq": seq,
        "answers": answers, "cap": cap, "for_ms": 30_000, "left": 500,
    }  # fmt: skip
    return Lease.model_validate(said | other)


def asked(at: Borrower, mono_ms: float) -> LeaseAsk:
    ask = at.ask(mono_ms)
    assert ask is not None
    return ask


def line(ask: LeaseAsk) -> LeaseLine:
    return next(each for each in ask.lines if each.pot == POT)


def test_it_asks_at_once_and_then_three_times_in_a_lease() -> None:
    at = borrower()
    assert line(asked(at, 0)).want == 50
    at.heard(lease(1, 100))
    assert at.ask(9_999) is None
    assert line(asked(at, 10_000)).held == 1


def test_a_lease_runs_from_when_its_ask_was_sent() -> None:
    at = borrower()
    asked(at, 1_000)
    at.heard(lease(1, 100))  # whenever that was heard
    assert at.room(POT, 30_999) == Room(100, lent=True, spare=500)
    assert at.room(POT, 31_000).amount == 0


def test_calls_under_way_and_calls_over_both_count() -> None:
    at = borrower()
    asked(at, 0)
    at.heard(lease(1, 100))
    period = at.take(POT, 60)
    assert at.room(POT, 1).amount == 40
    at.settle(POT, period, 60, 10)
    assert at.room(POT, 1).amount == 90


def test_a_lease_of_a_lender_that_was_replaced_is_void() -> None:
    at = borrower()
    asked(at, 0)
    at.heard(LenderTerm(lender="m", epoch=2, state="begins"))
    assert not at.heard(lease(1, 100))
    assert at.heard(lease(1, 90, lender="m", epoch=2))


def test_leases_of_others_and_answers_to_asks_it_never_made_are_not_its_own() -> None:
    at = borrower()
    asked(at, 0)
    assert not any(at.heard(each) for each in (lease(1, 9, boot="0"), lease(1, 9, replica="b"), lease(2, 9)))


def test_a_refused_call_is_asked_for_soon_and_less_often_once_nothing_is_left() -> None:
    at = borrower()
    asked(at, 0)
    at.heard(lease(1, 10, left=0))
    at.refused(POT, 400)
    assert at.ask(900) is None, "the lender has no more: once a second"
    assert line(asked(at, 1_000)).need == 400
    at.heard(lease(2, 10, seq=2, left=5_000))
    at.refused(POT, 400)
    assert at.ask(1_250) is not None


def test_what_ran_out_is_told_as_released() -> None:
    at = borrower()
    asked(at, 0)
    at.heard(lease(1, 100))
    assert line(asked(at, 29_999)).released == 0
    assert line(asked(at, 40_000)).released == 1


def test_a_call_that_began_in_the_last_period_is_settled_there() -> None:
    at = borrower()
    asked(at, 0)
    at.heard(lease(1, 100))
    period = at.take(POT, 60)
    asked(at, 10_000)
    at.heard(lease(2, 40, period="2026-12"))
    assert at.room(POT, 10_001).amount == 40
    at.settle(POT, period, 60, 20)
    past, now = (line for line in asked(at, 20_001).lines if line.pot == POT)
    assert (past.period, past.used, past.released, now.period, now.used) == ("2026-11", 20, 1, "2026-12", 0)


def test_a_period_that_comes_back_is_gone_on_with() -> None:
    at = borrower()
    asked(at, 0)
    at.heard(lease(1, 100))
    at.take(POT, 60)
    asked(at, 10_000)
    at.heard(lease(2, 40, period="2026-12"))
    asked(at, 20_000)
    at.heard(lease(3, 100, seq=2))
    assert at.room(POT, 20_001).amount == 40


def test_a_pot_that_nobody_lends_has_no_room() -> None:
    assert borrower().room("other", 0) == Room(0, lent=False, spare=None)


def test_a_pot_with_a_start_may_be_used_before_any_lease_of_it_while_the_gate_is_known() -> None:
    at = borrower()
    at.begin("quota of k1/usd", 20)
    assert at.room("quota of k1/usd", 0).amount == 0, "no lender knows of this gate yet"
    asked(at, 0)
    at.heard(lease(1, 1, pot=MEMBERS, period="2026-11-30"))
    at.begin("quota of k1/usd", 20)
    assert at.room("quota of k1/usd", 1).amount == 20
    assert at.take("quota of k1/usd", 15) == "2026-11-30"
    assert at.room("quota of k1/usd", 2).amount == 5
    assert at.room("quota of k1/usd", 30_000).amount == 0, "nor any more"


def test_a_pot_with_a_start_is_asked_for_only_while_it_is_used() -> None:
    at = borrower()
    asked(at, 0)
    at.heard(lease(1, 1, pot=MEMBERS, period="2026-11-30"))
    at.begin("quota", 20)
    period = at.take("quota", 15)
    assert "quota" in {line.pot for line in asked(at, 10_000).lines}
    at.settle("quota", period, 15, 1)
    pots = [{line.pot for line in asked(at, 10_000.0 * turn).lines} for turn in range(2, 40)]
    assert "quota" in pots[0]
    assert "quota" not in pots[-1]


def test_a_gate_that_may_begin_nothing_unasked_goes_by_its_leases() -> None:
    at = borrower()
    at.begin("quota", 20)
    at.refused("quota", 30)
    assert [line.need for line in asked(at, 0).lines if line.pot == "quota"] == [30]
    at.heard(lease(1, 40, pot="quota", period="2026-11-30"))
    at.begin("quota", 20)
    assert at.room("quota", 1).amount == 40
    assert at.take("quota", 30) == "2026-11-30"
    at.begin("quota", 20)
    assert at.room("quota", 2).amount == 10


def test_what_it_began_with_is_not_forgotten_while_the_pot_is_still_lent_in_the_period_before() -> None:
    at = borrower()
    asked(at, 0)
    at.heard(lease(1, 1, pot=MEMBERS, period="2026-11-30"))
    at.begin("quota", 20)
    at.settle("quota", at.take("quota", 15), 15, 15)
    asked(at, 10_000)
    at.heard(lease(2, 10, pot="quota", period="2026-11-29"))
    for turn in range(2, 40):
        asked(at, 10_000.0 * turn)
    at.heard(lease(40, 1, seq=2, pot=MEMBERS, period="2026-11-30"))
    at.begin("quota", 20)
    assert at.room("quota", 390_001).amount <= 5


def test_its_last_word_gives_everything_back() -> None:
    at = borrower()
    asked(at, 0)
    at.heard(lease(1, 100))
    at.take(POT, 60)
    last = line(at.farewell(5_000))
    assert (last.used, last.held, last.released, last.want) == (60, 1, 1, 0)
    assert at.room(POT, 5_001).amount == 0
