"""The lender, word by word."""

from __future__ import annotations

from itertools import pairwise

from controls.leases import Lender, Out, Pot
from schemas.lease import MEMBERS, Lease, LeaseAsk, LeaseLine, LenderRecord, LenderTerm, PotState

LEASE_MS, OVER_MS = 30_000, 660_000


def lender(*pots: Pot, epoch: int = 1, known: tuple[LenderRecord, ...] = (), now_ms: int = 0) -> Lender:
    made = Lender(
        f"lender{epoch}", epoch, lease_ms=LEASE_MS, reservation_ms=600_000, seen_within_ms=OVER_MS - 600_000
    )  # fmt: skip
    made.restore(known, now_ms)
    for pot in pots or (Pot("search/usd", "2026-11", 1000),):
        made.stands(pot)
    return made


def ask(seq: int, replica: str = "a", *, want: int = 100, need: int = 0, boot: str = "1", **said: int) -> LeaseAsk:
    period = "2026-11" if said else ""
    line = LeaseLine(pot="search/usd", period=period, want=want, need=need, **said)
    return LeaseAsk(replica=replica, boot=boot, seq=seq, lines=(line,))


def lease_of(out: Out) -> Lease:
    return next(record for _, record in out if isinstance(record, Lease))


def test_a_slice_is_half_a_gates_share_of_what_is_left_and_no_more_than_it_wants() -> None:
    at = lender()
    assert lease_of(at.ask(ask(1, "a"), 0)).cap == 100
    assert lease_of(at.ask(ask(1, "b", want=900), 0)).cap == 900 // 4
    assert (at.committed("search/usd"), at.lent("search/usd")) == (325, 325)


def test_slices_fall_as_the_budget_nears_its_end() -> None:
    at = lender()
    caps = [0]
    for seq in range(1, 9):
        said = ask(seq, want=10**6, used=caps[-1], settled=caps[-1], held=seq - 1) if seq > 1 else ask(seq, want=10**6)
        caps.append(lease_of(at.ask(said, seq)).cap)
    slices = [after - before for before, after in pairwise(caps)]
    assert slices == [500, 250, 125, 62, 31, 16, 8, 4]


def test_a_lease_says_of_which_ceiling_it_was_lent() -> None:
    at = lender()
    assert lease_of(at.ask(ask(1), 0)).limit == 1000
    at.stands(Pot("search/usd", "2026-11", 1500))
    assert lease_of(at.ask(ask(2), 1)).limit == 1500


def test_a_call_that_still_fits_gets_what_it_needs() -> None:
    at = lender(Pot("search/usd", "2026-11", 1000, seen=900))
    assert lease_of(at.ask(ask(1, want=10, need=80), 0)).cap == 80
    assert lease_of(at.ask(ask(2, "b", need=80), 0)).cap < 20, "and one that does not fit gets no more than its part"


def test_an_ask_that_comes_twice_or_late_says_nothing() -> None:
    at = lender()
    at.ask(ask(2), 0)
    assert at.ask(ask(2), 5) == at.ask(ask(1), 5) == []


def test_a_lease_that_ended_in_silence_counts_as_used_until_usage_is_seen_past_it() -> None:
    at = lender()
    at.ask(ask(1), 0)
    ended = LEASE_MS * 21 // 20 + 1000
    at.caught_up(ended + 1)
    at.tick(ended + 1)
    assert at.committed("search/usd") == 100
    at.stands(Pot("search/usd", "2026-11", 1000, seen=30))  # it let through 30 of the 100
    at.tick(ended + OVER_MS + 10)
    assert at.committed("search/usd") == 100, "nobody has counted the usage since"
    at.caught_up(ended + OVER_MS + 10)
    at.tick(ended + OVER_MS + 10)
    assert at.committed("search/usd") == 30


def test_a_word_after_the_end_says_what_was_used() -> None:
    at = lender()
    at.ask(ask(1), 0)
    at.ask(ask(2, want=0, used=30, settled=30, held=1, released=1), 40_000)
    assert at.committed("search/usd") == 30


def test_what_passes_by_the_gates_counts_besides_what_they_let_through() -> None:
    at = lender(Pot("search/usd", "2026-11", 1000, seen=400))
    at.ask(ask(1), 0)
    at.ask(ask(2, want=0, used=50, settled=50, held=1, released=1), 10)
    assert at.committed("search/usd") == 450
    at.stands(Pot("search/usd", "2026-11", 1000, seen=450))
    assert at.committed("search/usd") == 450, "seen meanwhile, it counts once"


def test_a_rolling_window_frees_what_has_left_it() -> None:
    at = lender(Pot("search/usd", "last 24 h", 1000, seen=400, gone=0))
    at.stands(Pot("search/usd", "last 24 h", 1000, seen=150, gone=250))
    assert at.committed("search/usd") == 150


def test_the_next_lender_goes_on_with_all_that_was_lent() -> None:
    first = lender()
    out = [*first.ask(ask(1), 0), *first.ask(ask(1, "b"), 0)]
    ready = LenderTerm(lender="lender1", epoch=1, state="ready")
    known = (*(record for _, record in out if record is not None), ready)
    second = lender(epoch=2, known=known, now_ms=77)
    assert second.committed("search/usd") == 200
    again = lease_of(second.ask(ask(2, used=40, settled=40, held=1, released=0), 80))
    assert (again.epoch, again.seq, again.cap) == (2, 2, 140)


def test_what_a_lender_wrote_after_another_was_ready_counts_for_nothing() -> None:
    first = lender()
    ready = tuple(LenderTerm(lender=f"lender{epoch}", epoch=epoch, state="ready") for epoch in (1, 2))
    late = tuple(record for _, record in first.ask(ask(1), 0) if record is not None)
    assert lender(epoch=3, known=(*ready, *late)).committed("search/usd") == 0


def test_a_new_period_begins_anew_and_a_past_one_takes_no_new_words() -> None:
    at = lender()
    at.ask(ask(1), 0)
    at.stands(Pot("search/usd", "2026-12", 1000))
    lease = lease_of(at.ask(ask(2, used=10, settled=0, held=1, released=0), 5))
    assert (lease.period, lease.cap, at.committed("search/usd")) == ("2026-12", 100, 100)


def test_a_lower_ceiling_takes_back_at_the_next_ask() -> None:
    at = lender()
    at.ask(ask(1, want=400), 0)
    at.stands(Pot("search/usd", "2026-11", 50))
    assert lease_of(at.ask(ask(2, want=400, used=10, settled=10, held=1, released=0), 5)).cap <= 50


def test_a_budget_that_is_no_more_leaves_nothing_behind() -> None:
    at = lender()
    at.ask(ask(1), 0)
    at.drop("search/usd")
    assert at.ask(ask(2), 1) == []
    at.caught_up(10**9)
    gone = {key for key, record in at.tick(10**8) if record is None}
    assert gone == {"search/usd|2026-11|a/1|1", "search/usd|2026-11|1"}


def test_what_every_gate_may_begin_with_is_kept_aside_for_each() -> None:
    at = lender(Pot(MEMBERS, "2026-11-30", 100), Pot("search/usd", "2026-11", 1000, start=20))
    for replica in "ab":
        word = LeaseLine(pot=MEMBERS, period="", want=1)
        at.ask(LeaseAsk(replica=replica, boot="1", seq=1, lines=(word,)), 0)
    assert at.committed("search/usd") == 40
    at.ask(ask(2, "a"), 0)
    assert at.committed("search/usd") == 100 + 20, "who has a lease has that instead"


DAY = Pot(MEMBERS, "2026-11", 100)


def joins(at: Lender, replica: str, *, seq: int = 1, now_ms: int = 0) -> bool:
    """A gate's first words; whether it may begin unasked from here on."""
    word = LeaseLine(pot=MEMBERS, period="", want=1)
    return bool(at.ask(LeaseAsk(replica=replica, boot="1", seq=seq, lines=(word,)), now_ms))


def test_a_gate_may_begin_unasked_only_while_there_is_left_what_it_may_begin_with() -> None:
    pot = Pot("search/usd", "2026-11", 1000, start=20)
    at = lender(DAY, pot)
    assert joins(at, "a")
    assert lease_of(at.ask(ask(2, need=970), 0)).cap == 970
    assert joins(at, "b"), "30 are left"
    assert not joins(at, "c"), "10 are left"
    assert at.committed("search/usd") == 990
    assert joins(at, "b", seq=2), "its 20 are kept aside for it"
    at.stands(pot._replace(limit=1010))
    assert joins(at, "c", seq=2)
    assert at.committed("search/usd") == 1010


def test_no_more_gates_may_begin_unasked_than_there_are_parts() -> None:
    at = lender(DAY._replace(limit=2))
    assert [joins(at, replica) for replica in "abc"] == [True, True, False]


def test_a_gate_whose_time_as_a_member_was_over_joins_anew() -> None:
    """Its word of a membership that nobody knows any more makes it none."""
    pot = Pot("search/usd", "2026-11", 1000, start=20)
    at = lender(DAY, pot)
    joins(at, "a")
    at.tick(10**8)
    at.caught_up(10**9)
    at.tick(10**8 + 1)
    at.stands(pot._replace(seen=990))
    word = LeaseLine(pot=MEMBERS, period="2026-11", held=1, released=1, want=1)
    assert at.ask(LeaseAsk(replica="a", boot="1", seq=9, lines=(word,)), 10**8 + 2) == []
    assert not joins(at, "a", seq=10, now_ms=10**8 + 3)
    at.stands(pot)
    again = lease_of(at.ask(LeaseAsk(replica="a", boot="1", seq=11, lines=(word,)), 10**8 + 4))
    assert again.seq == 2, "later than the one it held"


def test_a_lender_that_does_not_know_yet_where_all_pots_stand_lets_nobody_begin_unasked() -> None:
    first = lender(DAY, Pot("search/usd", "2026-11", 1000, start=20))
    left = tuple(record for _, record in first.ask(ask(1, need=1000), 0) if record is not None)
    ready = LenderTerm(lender="lender1", epoch=1, state="ready")
    at = lender(DAY, epoch=2, known=(ready, *left))
    assert not joins(at, "b")
    at.stands(Pot("search/usd", "2026-11", 1020, start=20))
    assert joins(at, "b", seq=2)


def test_what_a_gate_began_and_never_told_stays_taken_when_it_is_no_member_any_more() -> None:
    """By what was told it never was: the others' claims, larger than what is seen of them, would hide it."""
    pot = Pot("search/usd", "2026-11", 1000, start=200)
    at = lender(DAY, pot)
    joins(at, "a")
    at.ask(ask(1, "b", need=500), 0)
    over_ms = 2 * LEASE_MS + OVER_MS
    at.ask(ask(2, "b", need=500, used=500, held=1), over_ms)
    at.stands(pot._replace(seen=200 + 100))  # all of a's, who is dead, and a part of b's
    at.caught_up(over_ms)
    for turn in range(2):
        at.tick(over_ms + turn)
    at.caught_up(2 * over_ms)
    written = [record for _, record in at.tick(over_ms + 2) if isinstance(record, PotState)]
    assert at.committed("search/usd") >= 200 + 500
    assert [state.closed for state in written if state.pot == "search/usd"] == [200], "the next lender is told"
