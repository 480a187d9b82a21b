from __future__ import annotations

import pytest

from controls.registry import Registry
from schemas.config.keys import KeyConfig, KeysConfig
from schemas.records import KeyFacts


def test_a_registered_key_has_the_facts_that_were_written() -> None:
    key = KeyConfig(key_id="fp1:a", provider="openai", provider_ref="proj_x/key_y", env="prod", protected=True)
    registry = Registry(KeysConfig(keys=(key,)))
    expected = KeyFacts(provider="openai", provider_ref="proj_x/key_y", env="prod", protected=True)
    assert registry.facts_of("fp1:a") == expected
    assert len(registry) == 1


def test_nothing_is_known_of_other_keys() -> None:
    assert Registry(KeysConfig()).facts_of("fp1:a") is None
    assert len(Registry(KeysConfig())) == 0


def test_keys_listed_twice_are_named_all_at_once() -> None:
    keys = tuple(KeyConfig(key_id=key_id, provider="openai") for key_id in ("b", "a", "b", "c", "a"))
    with pytest.raises(ValueError, match="a, b more than once"):
        Registry(KeysConfig(keys=keys))
