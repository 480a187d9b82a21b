"""Keyfuse's own keys: a slip of one letter is seen without asking anybody, and no text that people see holds one."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from schemas.redact import MARK, looks_secret, redact
from schemas.virtual_key import PREFIX, is_virtual_key, last4, new_virtual_key

ALNUM = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
keys = st.integers(0, 2**64).map(lambda seed: new_virtual_key(random.Random(seed).randrange))


@given(keys, st.integers(0, 41), st.sampled_from(ALNUM))
def test_a_key_is_known_by_its_form_and_one_with_a_slip_is_not(secret: SecretStr, at: int, letter: str) -> None:
    key = secret.get_secret_value()
    assert is_virtual_key(key)
    slip = key[:at] + letter + key[at + 1 :]
    assert is_virtual_key(slip) == (slip == key)
    assert not is_virtual_key(key[:-1])
    assert not is_virtual_key(key + "0")


@given(keys, st.text(max_size=5), st.text(max_size=5))
def test_no_text_holds_one(secret: SecretStr, before: str, after: str) -> None:
    key = secret.get_secret_value()
    assert looks_secret(key)
    said = redact(f"{before}{key}{after}")
    assert key[len(PREFIX) :] not in said
    assert MARK in said


@given(st.text())
def test_anything_else_is_none(text: str) -> None:
    assert not is_virtual_key(text)


def test_two_are_never_the_same_and_do_not_show_themselves() -> None:
    one, other = (new_virtual_key(random.Random(seed).randrange) for seed in (1, 2))
    assert one != other
    assert "kfk_" not in repr(one)
    assert len(last4(one)) == 4
