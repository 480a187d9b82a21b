"""What may be carried on: the coarse sieve lets no secret through that the fine one knows."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, ip_address

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schemas import redact
from schemas.event import MAX_TEXT
from sources import scrub
from sources.doubt import Doubt
from sources.limits import LIMITS, Limits
from sources.texts import TextMemo
from tests.sources.events import PROVIDER_KEY, fingerprinter

RULES = redact._RULES


@pytest.mark.parametrize("rule", RULES, ids=[f"rule-{n}" for n in range(len(RULES))])
def test_the_sieve_holds_every_kind_of_secret(rule: str) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.from_regex(rule), st.text(st.characters(codec="utf-8"), max_size=3))
    def drawn(example: str, before: str) -> None:
        value = before + example
        assume(redact.looks_secret(value))
        assert scrub.suspects([value]) == [value]

    drawn()


def test_the_sieve_lets_usual_names_pass() -> None:
    usual = [
        "req-0123456789abcdef",
        "chatcmpl-979d5210-aafb-4977-95ce-ab47c285119d",
        "task-979d5210-aafb-4977-95ce-ab47c285119d",
        "msg_01XFDUDYJgAACzvnptvVoYEL",
        "openai-python/1.50.0",
        "/v1/chat/completions",
        "fp1:0123456789abcdef0123456789abcdef",
        "f" * 64,
        "",
    ]
    assert scrub.suspects(usual) == []


def test_a_secret_given_as_a_name_becomes_its_fingerprint() -> None:
    known = fingerprinter()
    assert scrub.named(PROVIDER_KEY, known) == known.of(PROVIDER_KEY)
    assert scrub.named(known.of(PROVIDER_KEY), known) == known.of(PROVIDER_KEY)
    assert scrub.named("batch-eval", known) == "batch-eval"


def test_hidden_text_still_fits_a_text_field() -> None:
    assert len(scrub.text(f"{PROVIDER_KEY} " * 10)) <= MAX_TEXT
    assert not re.search(PROVIDER_KEY, scrub.text(PROVIDER_KEY))


@pytest.mark.parametrize("values", [["a", None], ["a" * 9], [""], ["a\x00"]])
def test_a_memo_doubts_what_is_not_fit(values: list[str | None]) -> None:
    memo = TextMemo(scrub.text, Limits(1, 8, optional=False))
    with pytest.raises(Doubt):
        memo.column(pa.array(values, pa.string()).dictionary_encode())
    assert cleaned(memo, ["a", "b", "a"]) == ["a", "b", "a"]


def test_a_memo_remembers_what_it_changed() -> None:
    asked: list[str] = []

    def shout(value: str) -> str:
        asked.append(value)
        return value.upper()

    memo = TextMemo(shout, Limits(1, 8), screened=False)
    assert cleaned(memo, ["a", None, "b", "B"]) == ["A", None, "B", "B"]
    assert cleaned(memo, ["b", "a", "a"]) == ["B", "A", "A"]
    assert sorted(asked) == ["B", "a", "b"]


def cleaned(memo: TextMemo, values: list[str | None]) -> list[str | None]:
    column = memo.column(pa.array(values, pa.string()).dictionary_encode())
    assert len(set(column.dictionary.to_pylist())) == len(column.dictionary)
    texts: list[str | None] = column.to_pylist()
    return texts


def test_limits_are_those_of_the_event_model() -> None:
    assert LIMITS["status"] == Limits(0, 999, 200)
    assert LIMITS["requests"] == Limits(1, 10**9, 1)
    assert LIMITS["model"] == Limits(1, 256, optional=False)
    assert LIMITS["asn"] == Limits(0, 2**32 - 1)


NEARLY = st.lists(st.sampled_from(["0", "9", "24", "249", "255", "256", "01", "007", "1000", "", "٣", "a"]), max_size=5)


@given(st.one_of(st.ip_addresses().map(str), st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){3}\n?"), NEARLY.map(".".join)))
def test_an_address_in_its_usual_spelling_is_known_without_being_parsed(value: str) -> None:
    """And nothing else passes for one: both ways say the same, of what is no address too."""
    expected: str | None = None
    if value:
        with suppress(ValueError):
            expected = str(ip_address(value))
    if expected is None and value:
        with pytest.raises(ValueError, match="does not appear to be"):
            scrub.address(value)
        return
    assume(not value.startswith("::ffff:"))
    assert scrub.address(value) == expected
    if expected is not None and isinstance(ip_address(value), IPv4Address):
        assert scrub.network(value) == str(IPv4Network(f"{value}/24", strict=False))
