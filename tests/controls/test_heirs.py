"""Which keys responses.yaml speaks of, when some have taken over from others."""

from __future__ import annotations

from typing import Any

import pytest

from controls.heirs import Responses, handed_on
from controls.registry import Registry
from schemas.config import KeysConfig, ResponsesConfig
from schemas.config.keys import KeyConfig
from schemas.key_record import KeyRecord

LINE = {"b": ("a",), "c": ("a", "b"), "z": ("y",)}


@pytest.mark.parametrize(
    ("written", "protected", "modes"),
    [
        ({"protected_keys": ("a",)}, {"a", "b", "c"}, {}),
        ({"protected_keys": ("b",)}, {"b", "c"}, {}),
        ({"protected_keys": ("c",)}, {"c"}, {}),
        ({"protected_keys": ("nobody",)}, {"nobody"}, {}),
        ({"key_modes": {"a": "observe"}}, set(), {"a": "observe", "b": "observe", "c": "observe"}),
        ({"key_modes": {"a": "observe", "b": "auto"}}, set(), {"a": "observe", "b": "auto", "c": "auto"}),
        ({"key_modes": {"y": "approve"}, "protected_keys": ("a",)}, {"a", "b", "c"}, {"y": "approve", "z": "approve"}),
    ],
)
def test_what_is_said_of_a_key_holds_for_whatever_took_over_from_it(
    written: dict[str, Any], protected: set[str], modes: dict[str, str]
) -> None:
    told = handed_on(ResponsesConfig.model_validate(written), LINE)
    assert (set(told.protected_keys), told.key_modes) == (protected, modes)


def test_where_nothing_is_said_of_single_keys_nothing_is_made_anew() -> None:
    written = ResponsesConfig()
    assert handed_on(written, LINE) is written
    named = ResponsesConfig(protected_keys=("nobody",))
    assert handed_on(named, LINE) is named


def heir(key_id: str, *formerly: str) -> KeyRecord:
    entry = KeyConfig(key_id=key_id, provider="openai").record()
    return entry.model_copy(update={"seq": 1, "kind": "virtual", "formerly": formerly})


def test_a_rotation_and_a_new_file_count_at_once_and_else_the_same_is_told() -> None:
    responses, registry = Responses(), Registry(KeysConfig())
    written = ResponsesConfig(protected_keys=("a",))
    assert responses.of(written, registry) is written
    registry.take(heir("b", "a"))
    told = responses.of(written, registry)
    assert told.protected_keys == ("a", "b")
    assert responses.of(written, registry) is told
    registry.take(heir("c"))
    assert responses.of(written, registry) is told
    assert responses.of(ResponsesConfig(), registry).protected_keys == ()
    again = Registry(KeysConfig(), registry.records())
    assert responses.of(written, again).protected_keys == ("a", "b")
