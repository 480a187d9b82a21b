"""What a gate kept over a restart, against a topic that is read again from its beginning."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from controls.registry import Registry
from gate.kept import Place, Said
from gate.known import Known
from gate.memory import packed, unpacked
from schemas.config import KeysConfig
from schemas.spend import BudgetStatus
from schemas.verdict import HARDNESS, GateState, GateVerdict
from tests.gate.world import USD, status

Log = list[Said]
KEYS: Final = ("k1", "k2")


def said(offset: int, state: GateState, *, at_ms: int = 1, key_id: str = "k1", provider: bool = False) -> Said:
    source = "provider" if provider else "incident"
    named = {"key_id": key_id, "state": state, "at_ms": at_ms, "source": source}
    return Said(GateVerdict.model_validate({"reason": "r", "incident_id": "i"} | named), Place(0, offset))


@st.composite
def logs(draw: st.DrawFn, *, longest: int = 9) -> Log:
    """Any verdicts of two keys; of workers whose clocks do not agree."""
    one = st.tuples(st.sampled_from(HARDNESS), st.integers(0, 4), st.sampled_from(KEYS), st.booleans())
    rows = draw(st.lists(one, max_size=longest))
    return [said(n, state, at_ms=at, key_id=key, provider=by) for n, (state, at, key, by) in enumerate(rows)]


def told(log: Log, known: Known | None = None) -> Known:
    known = known or Known(Registry(KeysConfig()))
    for each in log:
        known.judged(each.verdict, each.place)
    return known


def restarted(log: Log) -> Known:
    """A gate that was told all of it, kept it, and starts anew."""
    known = Known(Registry(KeysConfig()))
    known.recalled(unpacked(packed(told(log), (), 1)).verdicts)
    return known


def hardness(known: Known) -> list[int]:
    verdicts = [known.verdict(key_id) for key_id in KEYS]
    return [0 if verdict is None else HARDNESS.index(verdict.state) for verdict in verdicts]


@given(logs(), st.data())
def test_never_softer_than_the_newest_of_what_is_known(log: Log, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(log)), label="kept up to")
    newer = [any(later.name == each.name for later in log[n + 1 :]) for n, each in enumerate(log)]
    lost = data.draw(
        st.sets(st.sampled_from([n for n, old in enumerate(newer) if old] or [-1])), label="compacted away"
    )
    gate, known = restarted(log[:at]), {each.name: each for each in log[:at]}

    for number, each in enumerate(log):
        if number in lost:
            continue
        gate.judged(each.verdict, each.place)
        if number >= at:
            known[each.name] = each
        newest = told(list(known.values()))
        assert all(has >= least for has, least in zip(hardness(gate), hardness(newest), strict=True))

    gate.caught_up()
    assert hardness(gate) == hardness(told(log)), "and nothing is refused for longer than it was said"
    more = data.draw(logs(longest=3), label="said since")
    live = [each._replace(place=Place(0, len(log) + n)) for n, each in enumerate(more)]
    assert hardness(told(live, gate)) == hardness(told([*log, *live]))


@given(logs(), logs())
def test_a_broker_that_lost_everything_is_believed_once_it_is_read(before: Log, after: Log) -> None:
    gate = told(after, restarted(before))
    gate.caught_up()
    newest = {each.name: each for each in [*before, *after]}
    assert hardness(gate) == hardness(told(list(newest.values())))


def test_a_cut_is_not_undone_by_what_was_said_before_it() -> None:
    gate = restarted([said(0, "allow", at_ms=9), said(1, "deny", at_ms=5)])
    told([said(0, "allow", at_ms=9)], gate)
    assert hardness(gate) == [3, 0]


def test_a_key_that_was_given_back_is_not_refused_again_while_the_topic_is_read() -> None:
    gate = restarted([said(0, "deny"), said(1, "allow", at_ms=2)])
    told([said(0, "deny")], gate)
    assert hardness(gate) == [0, 0]


def test_what_one_of_two_takes_back_leaves_what_the_other_said() -> None:
    gate = restarted([said(0, "throttle", provider=True), said(1, "deny")])
    told([said(2, "allow")], gate)
    assert hardness(gate) == [1, 0]


def test_a_cut_of_a_broker_that_began_anew_holds_at_once() -> None:
    gate = restarted([said(6, "throttle", at_ms=5)])
    told([said(0, "deny", at_ms=7)], gate)
    assert hardness(gate) == [3, 0]


def spent(gate: Known) -> int:
    stands = gate.status("search")
    return -1 if stands is None else stands.spent_nano_usd // USD


def status_of(usd: int, *, at_ms: int) -> BudgetStatus:
    return status("search", spent=usd, limit=100).model_copy(update={"at_ms": at_ms})


def test_a_budget_does_not_look_less_used_up_while_its_topic_is_read_again() -> None:
    gate = restarted([])
    gate.recalled([], [status_of(90, at_ms=5)])
    seen = []
    for usd, at_ms in ((10, 1), (50, 3), (90, 5), (95, 7)):
        gate.stands(status_of(usd, at_ms=at_ms))
        seen.append(spent(gate))
    gate.caught_up()
    assert [*seen, spent(gate)] == [90, 90, 90, 95, 95]
    gate.stands(status_of(1, at_ms=6))
    assert spent(gate) == 1, "what comes later holds as it comes"


def test_a_broker_that_lost_everything_says_where_budgets_stand_once_it_is_read() -> None:
    gate = restarted([])
    gate.recalled([], [status_of(90, at_ms=5)])
    for usd in (3, 4):
        gate.stands(status_of(usd, at_ms=usd))
    gate.caught_up()
    assert spent(gate) == 4
