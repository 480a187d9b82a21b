"""The census: what it tells, and above all what it keeps quiet about."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containment.ladder import choose
from controls import census as module
from controls.census import TOLD_PER_DAY, Census, stale
from controls.census_told import Told
from controls.neighbours import hood_of, related
from schemas.config import ResponsesConfig
from schemas.config.keys import KeyConfig
from schemas.key_record import KeyRecord
from schemas.records import CENSUS_PREFIX, Finding
from tests.alerting.world import incident
from tests.storage.frames import T0, Use, frame

DAY_S, T0_S = 86_400, T0 // 1000
DAY_MS = DAY_S * 1000
HOME = {"network": "203.0.113.0/24", "asn": 64500, "country": "DE"}
AWAY = {"network": "198.51.100.0/24", "asn": 64999, "country": "US"}


def entry(key_id: str = "fp1:a", **changes: Any) -> KeyRecord:
    return KeyConfig(**{"key_id": key_id, "provider": "openai", "env": "production"} | changes).record()


def a_census(*registered: KeyRecord, told: Told | None = None) -> Census:
    known = {one.key_id: one for one in registered}
    return Census(entry=known.get, registered=lambda: len(known), told=told)


def stored(census: Census) -> Told:
    """What a process that is killed leaves behind."""
    told = Told()
    told.restore(finding for finding in census.told.unsaved.values() if finding is not None)
    return told


def uses(*rows: dict[str, Any]) -> pa.RecordBatch:
    """Rows that say only what a test looks at; `at_s` is seconds after the beginning."""
    batch = frame([Use(f"e{n}", n, ts_ms=(T0_S + row.get("at_s", n)) * 1000) for n, row in enumerate(rows)])
    columns = {name: batch.column(name) for name in batch.schema.names}
    for name in ("key_id", "env", "network", "country", "asn"):
        given = [row.get(name, "fp1:a" if name == "key_id" else None) for row in rows]
        columns[name] = pa.array(given, pa.uint32() if name == "asn" else pa.dictionary(pa.int32(), pa.string()))
    return pa.RecordBatch.from_arrays([columns[n] for n in batch.schema.names], schema=batch.schema)


def told(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.detector, finding.key_id) for finding in findings]


def test_an_unknown_key_is_told_once_and_only_where_anything_is_registered() -> None:
    assert a_census().saw(uses({"key_id": "new"})) == []
    census = a_census(entry())
    first = census.saw(uses({"key_id": "new"}, {"key_id": "fp1:a"}))
    assert told(first) == [("unknown_key", "new")]
    assert first[0].facts.team == "search", "as its events say"
    assert census.saw(uses({"key_id": "new"})) == []
    restarted = a_census(entry(), told=stored(census))
    assert restarted.saw(uses({"key_id": "new", "at_s": 60})) == first, "said again after a restart it is the same"
    assert restarted.saw(uses({"key_id": "new", "at_s": 120})) == []
    month = uses({"key_id": "new", "at_s": 31 * DAY_S})
    assert told(census.saw(month)) == told(restarted.saw(month)) == [("unknown_key", "new")]


def test_a_key_whose_entry_is_taken_away_is_unknown_again() -> None:
    known: dict[str, KeyRecord] = {}
    census = Census(entry=known.get, registered=lambda: 1)
    [first] = census.saw(uses({"key_id": "new"}))
    known["new"] = entry("new")
    assert census.saw(uses({"key_id": "new", "at_s": 60})) == []
    del known["new"]
    [again] = a_census(entry(), told=stored(census)).saw(uses({"key_id": "new", "at_s": 120}))
    assert (again.finding_id, again.at_ms) != (first.finding_id, first.at_ms)


def test_thousands_of_unknown_keys_are_a_few_incidents_and_one_that_sums_up() -> None:
    census = a_census(entry())
    found = [one for n in range(4) for one in census.saw(uses(*({"key_id": f"k{n}-{i}"} for i in range(1000))))]
    assert len(found) == TOLD_PER_DAY + 1
    assert found[-1].key_id.startswith(CENSUS_PREFIX)
    tomorrow = census.saw(uses(*({"key_id": f"z{i}", "at_s": DAY_S} for i in range(100))))
    assert len(tomorrow) == TOLD_PER_DAY + 1
    assert tomorrow[-1].finding_id != found[-1].finding_id
    restarted = a_census(entry(), told=stored(census))
    again = restarted.saw(uses(*({"key_id": f"y{i}", "at_s": DAY_S + 60} for i in range(100))))
    assert again == tomorrow[-1:], "a restart is no new day"


def test_after_a_rebalance_what_may_not_have_gone_out_is_said_again() -> None:
    census = a_census(entry())
    first = census.saw(uses({"key_id": "new"}))
    findings = [finding for finding in census.told.unsaved.values() if finding is not None]
    census.drop()
    census.told.restore(findings)
    assert census.saw(uses({"key_id": "new", "at_s": 60})) == first
    assert census.told.unsaved == {}


def test_what_was_told_is_forgotten_after_a_month() -> None:
    census = a_census(entry())
    for at_s in (0, 40 * DAY_S):
        census.saw(uses({"key_id": f"at-{at_s}", "at_s": at_s}))
    assert stored(census).of("unknown_key", "at-0", (T0_S + 60) * 1000) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEYS_MOST", 50)
    census = a_census()
    census.saw(uses(*({"key_id": f"k{i}"} for i in range(400))))
    assert len(census) == 50


def of_envs(**counts: int) -> pa.RecordBatch:
    return uses(*({"env": env} for env, count in counts.items() for _ in range(count)))


@pytest.mark.parametrize(
    ("counts", "registered", "found"),
    [
        ({"prod": 30, "staging": 30}, "unknown", True),
        ({"prod": 2000, "staging": 12}, "unknown", False),  # 0.6 %: a stray label
        ({"prod": 30, "staging": 9}, "unknown", False),
        ({"prod": 30, "production": 30}, "unknown", False),
        ({"staging": 30}, "production", True),  # registered for another
        ({"PROD": 30}, "production", False),
        ({"unknown": 30, "prod": 30}, "unknown", False),
    ],
)
def test_a_key_of_two_environments(counts: dict[str, int], registered: str, found: bool) -> None:
    census = a_census(entry(env=registered))
    assert (told(census.saw(of_envs(**counts))) == [("two_environments", "fp1:a")]) is found
    if found:
        assert census.saw(of_envs(**counts)) == [], "once"


def test_two_environments_on_two_days_are_a_change_and_not_both() -> None:
    census = a_census(entry(env="unknown"))
    assert census.saw(of_envs(staging=50)) == []
    assert census.saw(uses(*({"env": "prod", "at_s": DAY_S + n} for n in range(50)))) == []


def lived(census: Census, *, days: float = 4, uses_: int = 300) -> list[Finding]:
    """The key at home for some days."""
    return census.saw(uses(*({**HOME, "at_s": int(n * days * DAY_S / uses_)} for n in range(uses_))))


def taking_turns(*places: dict[str, Any], at_s: int = 5 * DAY_S, every_s: int = 20) -> pa.RecordBatch:
    return uses(*({**place, "at_s": at_s + n * every_s} for n, place in enumerate(places)))


def test_a_key_used_from_elsewhere_while_it_is_used_at_home() -> None:
    census = a_census(entry())
    assert lived(census) == []
    [finding] = census.saw(taking_turns(HOME, AWAY, HOME, AWAY))
    assert finding.detector == "two_networks"
    assert "from AS64500 (DE) and from AS64999 (US) at once" in finding.reason
    assert census.saw(taking_turns(*[HOME, AWAY] * 5, at_s=6 * DAY_S)) == [], "once"


@pytest.mark.parametrize(
    "places",
    [
        [HOME, HOME, AWAY, AWAY],  # a failover, or a journey
        [HOME, AWAY, HOME],  # and back
        [HOME, {**HOME, "network": "192.0.2.0/24"}] * 3,  # another range of the same operator: NAT, regions
        [HOME, {**HOME, "country": "NL"}] * 3,
        [HOME, {"network": "2001:db8:1::/48", "asn": 64777, "country": "DE"}] * 3,  # both stacks of one machine
        [HOME, {"country": "US"}] * 3,  # no network known
        [{"network": "203.0.113.0/24"}, {"network": "203.0.7.0/24"}] * 3,
    ],
)
def test_the_usual_ways_of_a_healthy_key_are_quiet(places: list[dict[str, Any]]) -> None:
    census = a_census(entry())
    lived(census)
    assert census.saw(taking_turns(*places)) == []


def test_turns_that_take_hours_are_quiet() -> None:
    census = a_census(entry())
    lived(census)
    assert census.saw(taking_turns(*[HOME, AWAY] * 3, every_s=3600)) == []


@pytest.mark.parametrize(("days", "uses_"), [(1, 300), (4, 100)])
def test_a_key_that_is_hardly_known_is_not_judged(days: float, uses_: int) -> None:
    census = a_census(entry())
    lived(census, days=days, uses_=uses_)
    assert census.saw(taking_turns(*[HOME, AWAY] * 2, at_s=int(days * DAY_S) + 60)) == []


def test_a_key_that_always_lived_in_two_places_is_quiet() -> None:
    census = a_census(entry())
    census.saw(uses(*({**(HOME, AWAY)[n % 2], "at_s": n * 30} for n in range(100))))
    census.saw(uses(*({**(HOME, AWAY)[n % 2], "at_s": n * 1200} for n in range(400))))
    assert census.saw(taking_turns(*[HOME, AWAY] * 5, at_s=6 * DAY_S)) == []


def test_none_of_it_cuts_a_key() -> None:
    """Not alone, and not as the second kind of evidence."""
    config = ResponsesConfig(mode="auto")
    for families in (("identity",), ("identity", "velocity"), ("identity", "velocity", "drift")):
        scores = {family: 40.0 for family in families if family != "identity"}
        case = incident(families=families, scores=scores, mode="auto", lost_usd=90.0, usd_per_min=50.0)
        choice = choose(case, certain=False, config=config, offered={"disable": True}, at_ms=T0)
        assert choice.step is None, families


def test_stale_keys() -> None:
    entries = {
        key_id: entry(key_id, **given)
        for key_id, given in {
            "used": {"created": "2026-01-01"}, "rests": {"created": "2026-01-01"}, "never": {"created": "2026-01-01"},
            "young": {"created": "2026-11-20"}, "just-written": {}, "spare": {"created": "2026-01-01"},
            "has-spare": {"created": "2026-01-01", "backup": "spare"},
        }.items()
    } | {"off": entry("off", created="2026-01-01").model_copy(update={"state": "disabled"})}  # fmt: skip
    used = {"used": T0 - DAY_MS, "rests": T0 - 40 * DAY_MS, "has-spare": T0}
    found = stale(entries, used, {"just-written": T0 - DAY_MS}, now_ms=T0, stale_days=30)
    assert {finding.key_id for finding in found} == {"rests", "never"}
    assert {finding.severity for finding in found} == {"info"}
    by_key = {finding.key_id: finding for finding in found}
    assert "not used for 40 days:" in by_key["rests"].reason
    assert "or never" in by_key["never"].reason
    later = stale(entries, used, {}, now_ms=T0 + DAY_MS, stale_days=30)
    assert by_key["rests"].finding_id in {finding.finding_id for finding in later}, "told once while it rests"


PLACES = st.sampled_from(["203.0.113.0/24", "198.51.100.0/24", "2001:db8:1::/48", "", "nonsense"])


@given(
    PLACES, st.sampled_from([0, 64500, 64501]), st.sampled_from(["", "DE", "US"]), PLACES, st.sampled_from([0, 64500])
)
def test_being_related_is_mutual_and_holds_of_oneself(n1: str, a1: int, c1: str, n2: str, a2: int) -> None:
    one, other = hood_of(n1, a1, c1), hood_of(n2, a2, "DE")
    if one is not None and other is not None:
        assert related(one, one) or not (one.asn or one.network)
        assert related(one, other) == related(other, one)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries({
            "key_id": st.sampled_from("ab"), "env": st.sampled_from([None, "prod", "dev"]),
            "network": st.sampled_from([None, "203.0.113.0/24", "2001:db8:1::/48"]),
            "asn": st.sampled_from([None, 64500]), "country": st.sampled_from([None, "DE"]),
        }),
        min_size=1, max_size=30,
    ),
    cut=st.integers(0, 30),
)  # fmt: skip
def test_how_rows_are_cut_into_frames_changes_nothing_that_is_told(rows: list[dict[str, Any]], cut: int) -> None:
    rows = [row | {"at_s": n} for n, row in enumerate(rows)]
    whole, parts = a_census(entry("a")), a_census(entry("a"))
    at_once = whole.saw(uses(*rows))
    one_by_one = [one for part in (rows[:cut], rows[cut:]) if part for one in parts.saw(uses(*part))]
    assert {(one.detector, one.key_id) for one in at_once if one.detector != "two_environments"} == {
        (one.detector, one.key_id) for one in one_by_one if one.detector != "two_environments"
    }


@settings(max_examples=30, deadline=None)
@given(
    keys=st.lists(st.sampled_from("abcd"), min_size=1, max_size=30),
    minutes=st.lists(st.integers(0, 90), min_size=30, max_size=30),
    acked=st.integers(0, 30), more=st.integers(0, 30), cuts=st.sets(st.integers(0, 30), max_size=5),
)  # fmt: skip
def test_unknown_keys_are_the_same_findings_however_rows_are_cut_and_replayed(
    keys: list[str], minutes: list[int], acked: int, more: int, cuts: set[int]
) -> None:
    """Late events among them; the process is killed after `acked + more` rows and `acked` are not read again."""
    rows = [{"key_id": key, "at_s": 60 * minute} for key, minute in zip(keys, minutes, strict=False)]
    undisturbed = a_census(entry("a")).saw(uses(*rows))
    first = a_census(entry("a"))
    found = taken(first, rows[: acked + more], cuts)
    found += taken(a_census(entry("a"), told=stored(first)), rows[acked:], cuts)
    assert {one.finding_id: one.to_bytes() for one in found} == {one.finding_id: one.to_bytes() for one in undisturbed}


def taken(census: Census, rows: list[dict[str, Any]], cuts: set[int]) -> list[Finding]:
    ends = sorted({*cuts, len(rows)})
    parts = [rows[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    return [one for part in parts if part for one in census.saw(uses(*part))]
