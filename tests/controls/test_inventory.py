"""A provider's list against the registry: nothing is called new that is known, nothing gone that is no key."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controls.inventory import Listed, compare, env_of
from schemas.config.keys import KeyConfig
from schemas.key_record import KeyRecord

JAN_MS = 1_767_225_600_000


def listed(tail: str, **changes: Any) -> Listed:
    return Listed(**{"provider_ref": f"proj_a/{tail}", "key_id": tail, "name": "checkout"} | changes)


def entry(key_id: str, ref: str | None, **changes: Any) -> KeyRecord:
    given = {"key_id": key_id, "provider": "openai", "provider_ref": ref, "created": "2026-01-01"} | changes
    return KeyConfig(**given).record()


def test_new_known_gone_and_resting() -> None:
    found = compare(
        [listed("key_1"), listed("key_2"), listed("key_3", active=False), listed("key_1")],
        [entry("fp1:a", "proj_a/key_1"), entry("fp1:b", "proj_a/key_9")],
        provider="openai",
    )
    assert [key.key_id for key in found.new] == ["key_2"]
    assert [key.key_id for key in found.resting] == ["key_3"]
    assert [one.key_id for one in found.gone] == ["fp1:b"]
    assert (found.same, found.changed) == (1, ())


@pytest.mark.parametrize("ref", ["proj_a/sa/svc_1", "user/shop", "role/shop", None])
def test_what_names_no_single_key_is_never_gone(ref: str | None) -> None:
    assert compare([], [entry("k", ref)], provider="openai").gone == ()


def test_keys_of_other_providers_and_of_keyfuse_are_left_alone() -> None:
    own = entry("fp1:v", "x").model_copy(update={"kind": "virtual"})
    assert compare([], [own, entry("k", "apikey_1", provider="anthropic")], provider="openai").gone == ()


@pytest.mark.parametrize(
    ("key", "known", "words"),
    [
        (listed("key_1", active=False), entry("k", "proj_a/key_1"), "disabled or expired at the provider"),
        (listed("key_1"), entry("k", "proj_b/key_1"), "moved: provider_ref is proj_a/key_1 now"),
        (listed("key_1"), entry("key_1", None), "registered without provider_ref; it is proj_a/key_1"),
        (listed("key_1", expires_ms=JAN_MS), entry("k", "proj_a/key_1"), "expires at the provider on 2026-01-01"),
        (listed("key_1", expires_ms=JAN_MS), entry("k", "proj_a/key_1", expires="2027-01-01"), "earlier than"),
        (listed("key_1", created_ms=JAN_MS), entry("k", "proj_a/key_1", created=None), "its rotation cannot be due"),
    ],
)  # fmt: skip
def test_what_changed_is_said(key: Listed, known: KeyRecord, words: str) -> None:
    found = compare([key], [known], provider="openai")
    assert not found.new
    assert not found.gone
    assert any(words in line for line in found.changed[0].what)


@pytest.mark.parametrize(
    ("name", "place", "env"),
    [("a", "Shop production", "prod"), ("dev-bot", "", "dev"), ("x", "product", ""), ("prod", "staging", "")],
)
def test_an_environment_is_guessed_only_where_one_is_named(name: str, place: str, env: str) -> None:
    assert env_of(listed("k", name=name, place=place)) == env


@given(st.sets(st.integers(0, 8)), st.sets(st.integers(0, 8)))
def test_every_key_is_in_one_list(there: set[int], here: set[int]) -> None:
    found = compare(
        [listed(f"key_{n}") for n in there], [entry(f"fp1:{n}", f"proj_a/key_{n}") for n in here], provider="openai"
    )
    assert {key.key_id for key in found.new} == {f"key_{n}" for n in there - here}
    assert {one.key_id for one in found.gone} == {f"fp1:{n}" for n in here - there}
    assert found.same == len(here & there)
