"""Each change of a key in words: by commands, and in keys.yaml."""

from __future__ import annotations

from typing import Any

from controls.issuing import key_of
from schemas.config.keys import IssuingConfig
from schemas.evidence import ConfigInForce
from service.key_history import lines_of, written_lines
from tests.controls.asks import T0, ask

PART = "keys.yaml/07"


def test_a_version_says_what_happened_and_what_is_another_than_before() -> None:
    first = key_of(ask(env="prod"), IssuingConfig(), state="pending", change="asked for", now_ms=T0)
    second = first.next(
        at_ms=T0 + 1, by="bob", change="approved", state="active", expires_ms=T0, networks=("10.0.0.0/8",)
    )
    assert [tuple(line) for line in lines_of([first, second])] == [
        (T0, "ann", "asked for"),
        (T0 + 1, "bob", "approved; state pending → active; networks none → 10.0.0.0/8; "
                        "expires none → 2026-11-23T10:00:00.000Z"),
    ]  # fmt: skip


def word(at_ms: int, digest: str | None) -> ConfigInForce:
    files = {PART: digest} if digest else {"keys.yaml": "x"}
    return ConfigInForce(at_ms=at_ms, worker="w", roles=("score",), cause="start", version="v", files=files)


def test_what_people_changed_in_keys_yaml_is_told_once_whatever_else_changed() -> None:
    one: dict[str, Any] = {"key_id": "k1", "env": "dev", "protected": False}
    entries = {"a": None, "b": one, "c": one, "d": {**one, "env": "prod", "protected": True}, "e": None}
    words = [word(at, digest) for at, digest in enumerate([None, "a", "b", "b", "c", "d", "too large", "d", "e", None])]
    assert [tuple(line) for line in written_lines(words, entries, PART)] == [
        (2, "keys.yaml", "registered"),
        (5, "keys.yaml", "env dev → prod; protected False → True"),
        (8, "keys.yaml", "taken out"),
    ]
