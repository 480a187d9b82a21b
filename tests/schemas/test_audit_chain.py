"""The chain: whatever is done to a written audit shows, and the row is named."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.audit_chain import GENESIS, Head, Link, Problem, canonical, hash_of, link, problems
from schemas.records import AuditRow

CHAIN = "keyfuse.audit:0"


def row(nth: int, **given: object) -> AuditRow:
    plain = {
        "audit_id": f"aud_{nth}", "at_ms": 1000 * nth, "actor": "ada", "action": "disable", "key_id": "fp1:a",
        "incident_id": "inc_1", "command_id": "cmd_1", "result": "ok", "detail": {"took_ms": 1.5, "words": "é"},
    }  # fmt: skip
    return AuditRow.model_validate(plain | given)


def chain(count: int, name: str = CHAIN) -> list[Link]:
    return list(link([row(nth).model_dump_json() for nth in range(1, count + 1)], chain=name))


def head_of(links: list[Link]) -> Head:
    return Head(chain=links[-1].chain, seq=links[-1].seq, hash=links[-1].hash, at_ms=9_000_000)


def found(links: list[Link], *heads: Head, part: bool = False) -> list[Problem]:
    return list(problems(links, heads=heads, part=part))


counts = st.integers(1, 12)
names = st.text(min_size=1, max_size=6)


@given(counts)
def test_an_untouched_chain_has_no_problem(count: int) -> None:
    links = chain(count)
    assert found(links, head_of(links), head_of(links[:1])) == []
    assert [one.prev_hash for one in links] == [GENESIS, *(one.hash for one in links[:-1])]


@given(counts, counts)
def test_linking_in_two_goes_makes_the_same_chain(first: int, more: int) -> None:
    whole = chain(first + more)
    last = whole[first - 1]
    rest = [one.record for one in whole[first:]]
    assert [*whole[:first], *link(rest, chain=CHAIN, seq=last.seq, prev_hash=last.hash)] == whole


@given(counts, st.data())
def test_any_single_change_of_a_record_is_found_at_its_row(count: int, data: st.DataObject) -> None:
    links = chain(count)
    at = data.draw(st.integers(0, count - 1))
    record = orjson.loads(links[at].record)
    field = data.draw(st.sampled_from([name for name in record if name != "type"]))
    value = {"at_ms": 5, "detail": {"took_ms": 2.5}}.get(field, data.draw(names.map(lambda text: f"new {text}")))
    links[at] = links[at].model_copy(update={"record": orjson.dumps(record | {field: value}).decode()})
    [problem] = found(links)
    assert (problem.kind, problem.seq) == ("changed", at + 1)
    assert f"row {at + 1} of {CHAIN}" in problem.words


@given(counts, st.data())
def test_a_change_whose_own_hash_is_made_anew_is_found_at_the_next_row_or_by_the_head(
    count: int, data: st.DataObject
) -> None:
    links = chain(count)
    at = data.draw(st.integers(0, count - 1))
    old, record = links[at], row(at + 1, actor="eve").model_dump_json()
    forged = hash_of(CHAIN, old.seq, old.prev_hash, record)
    links_changed = [*links[:at], old.model_copy(update={"record": record, "hash": forged}), *links[at + 1 :]]
    told = found(links_changed, head_of(links))
    assert [problem.kind for problem in told] == ["head" if at == count - 1 else "inserted"]
    assert told[0].seq == min(at + 2, count)


@given(counts, st.data())
def test_any_single_removal_is_found(count: int, data: st.DataObject) -> None:
    links = chain(count)
    gone = data.draw(st.integers(0, count - 1))
    [problem] = found(links[:gone] + links[gone + 1 :], head_of(links))
    assert problem.kind == ("cut" if gone == count - 1 else "missing")
    assert f"row {gone + 1}" in problem.words


@given(st.integers(2, 12), st.data())
def test_any_two_rows_that_change_places_are_found(count: int, data: st.DataObject) -> None:
    links = chain(count)
    one, other = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=2, max_size=2)))
    links[one], links[other] = links[other], links[one]
    assert {problem.kind for problem in found(links)} == {"missing", "moved"}


@given(st.integers(2, 12), st.data())
def test_two_rows_that_change_their_numbers_are_found(count: int, data: st.DataObject) -> None:
    """As in a table, where a row stands by its seq."""
    links = chain(count)
    one, other = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=2, max_size=2)))
    a, b = links[one], links[other]
    links[one], links[other] = b.model_copy(update={"seq": a.seq}), a.model_copy(update={"seq": b.seq})
    assert {problem.seq for problem in found(links)} >= {one + 1, other + 1}


@given(counts, st.data())
def test_any_inserted_row_is_found(count: int, data: st.DataObject) -> None:
    links = chain(count)
    at = data.draw(st.integers(0, count - 1))
    before = links[at - 1] if at else None
    [new] = link(
        [row(99).model_dump_json()], chain=CHAIN, seq=before.seq if before else 0,
        prev_hash=before.hash if before else GENESIS,
    )  # fmt: skip
    assert found([*links[:at], new, *links[at:]])[0].seq == at + 1


@pytest.mark.parametrize("update", [{"chain": "other"}, {"seq": 2}, {"prev_hash": "f" * 64}, {"hash": "f" * 64}])
def test_what_a_row_says_of_its_place_is_hashed_as_well(update: dict[str, object]) -> None:
    [one] = chain(1)
    assert "changed" in {problem.kind for problem in found([one.model_copy(update=update)])}


@pytest.mark.parametrize(
    "record", ["no json", '{"actor": "ada", "actor": "eve"}', '{"score": NaN}'], ids=["text", "twice", "nan"]
)
def test_a_record_that_cannot_be_read_is_a_problem_and_no_crash(record: str) -> None:
    [one] = chain(1)
    [problem] = found([one.model_copy(update={"record": record})])
    assert (problem.kind, problem.seq) == ("unreadable", 1)


def test_a_part_may_begin_and_end_anywhere_but_has_no_gap() -> None:
    links = chain(9)
    assert found(links[3:7], head_of(links), part=True) == []
    assert [problem.kind for problem in found(links[3:5] + links[6:7], part=True)] == ["missing"]
    assert [problem.kind for problem in found(links[3:7])] == ["missing"]


def test_chains_do_not_disturb_each_other_and_one_that_is_gone_is_told() -> None:
    one, other = chain(3), chain(2, "b")
    assert found([one[0], other[0], *one[1:], other[1]], head_of(one), head_of(other)) == []
    [problem] = found(one, head_of(one), head_of(other))
    assert (problem.kind, problem.chain, problem.seq) == ("cut", "b", 2)


@given(st.dictionaries(names, st.integers()))
def test_the_canonical_form_does_not_know_the_order_of_fields(value: dict[str, int]) -> None:
    assert canonical(value) == canonical(dict(reversed(value.items())))
