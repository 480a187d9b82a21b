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


def test_a_key_is_found_by_its_own_name_or_the_providers_when_only_one_has_it() -> None:
    refs = {"fp1:a": "proj_x/key_y", "fp1:b": "shared", "fp1:c": "shared", "proj_x": None}
    registry = Registry(
        KeysConfig(keys=tuple(KeyConfig(key_id=k, provider="openai", provider_ref=ref) for k, ref in refs.items()))
    )
    names = ["fp1:a", "proj_x/key_y", "proj_x", "shared", "none"]
    found = [registry.named(name) for name in names]
    assert [one and one[0] for one in found] == ["fp1:a", "fp1:a", "proj_x", None, None]
    assert found[1] is not None
    assert found[1][1] == registry.facts_of("fp1:a")


def test_keys_listed_twice_are_named_all_at_once() -> None:
    keys = tuple(KeyConfig(key_id=key_id, provider="openai") for key_id in ("b", "a", "b", "c", "a"))
    with pytest.raises(ValueError, match="a, b more than once"):
        Registry(KeysConfig(keys=keys))


def test_who_lets_go_of_a_registry_part_by_part_has_all_of_it() -> None:
    keys = (KeyConfig(key_id="k1", provider="openai", backup="k2"), KeyConfig(key_id="k2", provider="openai"))
    changed = keys[0].record().next(at_ms=1, by="ann", change="transferred", owner="bob")
    registry = Registry(KeysConfig(keys=keys), [changed])

    parts = {id(part) for part in registry.parts()}

    held = [*registry.entries().values(), *registry.all_facts().values(), *registry.records()]
    assert parts >= {id(each) for each in [*held, registry.with_backup("k1")]}
