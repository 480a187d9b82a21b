"""The configuration is written down once for each content, without secrets, however many keys there are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest

from schemas.config import KeysConfig, ResponsesConfig, RoutesConfig
from schemas.evidence import ConfigInForce, ConfigText, config_record
from schemas.records import Record
from service.config_kept import ConfigNews, ConfigTeller, part_of, read, texts_of, version_of
from service.config_tree import FILES, Folder
from streams.topics import Topic
from tests.streams.world import MemoryOutbox


def keys(*teams: str) -> KeysConfig:
    named = [{"key_id": f"fp1:{nth:032x}", "provider": "p", "team": team} for nth, team in enumerate(teams)]
    return KeysConfig.model_validate({"keys": named})


def by_file(folder: Folder) -> dict[str, ConfigText]:
    return {text.file: text for text in texts_of(folder)}


def test_every_file_is_kept_and_keys_in_parts() -> None:
    texts = by_file(Folder(keys=keys(*["search"] * 500)))
    assert {name for name in texts if "/" not in name} == {file.name for file in FILES}
    told = [key["key_id"] for name, text in texts.items() if "/" in name for key in read(text)]
    assert sorted(told) == [f"fp1:{nth:032x}" for nth in range(500)]
    assert all(part_of(key["key_id"]) == name for name, text in texts.items() if "/" in name for key in read(text))
    assert max(len(text.to_bytes()) for text in texts.values()) < 5000


def test_one_changed_key_is_one_new_text() -> None:
    before, after = by_file(Folder(keys=keys(*["a"] * 500))), by_file(Folder(keys=keys(*["a"] * 499, "b")))
    changed = [name for name in after if after[name].sha256 != before[name].sha256]
    assert changed == [part_of(f"fp1:{499:032x}")]


def test_what_looks_like_a_secret_is_hidden() -> None:
    chat = {"kind": "webhook", "target": "https://chat.example.com/hook/Zm9vYmFy", "secret_env": "X"}
    [text] = [
        each for each in texts_of(Folder(routes=RoutesConfig.model_validate({"channels": {"chat": chat}})))
        if each.file == "routes.yaml"
    ]  # fmt: skip
    assert read(text)["channels"]["chat"]["target"] == "https://chat.example.com/[redacted]"


def test_a_text_that_no_record_holds_is_known_by_its_hash_alone() -> None:
    text = ConfigText(sha256="x", file="keys.yaml", packed=b"")
    assert read(text) is None


def test_the_records_read_back() -> None:
    folder = Folder()
    for text in texts_of(folder):
        assert config_record(text.to_bytes()) == text
    word = ConfigInForce(at_ms=1, worker="w", roles=("score",), cause="start", version="v", files={"a": "b"})
    assert config_record(word.to_bytes()) == word


def told(outbox: MemoryOutbox) -> tuple[list[str], list[ConfigInForce]]:
    records = outbox.of(Topic.CONFIG)
    texts = [record.file for record in records if isinstance(record, ConfigText)]
    return texts, [record for record in records if isinstance(record, ConfigInForce)]


async def test_each_content_is_told_once_and_each_change_is_told() -> None:
    outbox, first = MemoryOutbox(), Folder(keys=keys("a", "b"))
    teller = ConfigTeller(outbox, worker="w", roles=("score", "decide"))
    await teller.tell(first, since_ms=1)
    texts, _ = told(outbox)
    await teller.tell(replace(first, responses=ResponsesConfig(mode="auto")), since_ms=2)
    await teller.tell(first, since_ms=3)
    later, words = told(outbox)
    assert later[len(texts) :] == ["responses.yaml", "responses.yaml"]  # it may be back: the store keeps one of each
    assert [(word.at_ms, word.cause) for word in words] == [(1, "start"), (2, "reload"), (3, "reload")]
    assert words[0].version == words[2].version == version_of(words[0].files) != words[1].version
    assert words[0].roles == ("score", "decide")


class Done(Exception):
    """Enough was told."""


class Broken(MemoryOutbox):
    """Fails the first time, and ends the test after the second word."""

    failures = 1

    async def send(self, topic: Topic, records: Iterable[tuple[str, Record]]) -> dict[int, int]:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the broker is gone")
        ends = await super().send(topic, records)
        if len(told(self)[1]) > 1:
            raise Done
        return ends


async def test_what_a_failure_kept_back_is_told_later_with_its_own_time() -> None:
    clock = iter([10, 20])
    outbox, news = Broken(), ConfigNews(Folder(), lambda: next(clock))
    teller = ConfigTeller(outbox, worker="w", roles=("score",))
    with pytest.raises(ConnectionError):
        await news.follow(teller)
    news.changed(Folder(responses=ResponsesConfig(mode="auto")))
    with pytest.raises(Done):
        await news.follow(teller)
    assert [word.at_ms for word in told(outbox)[1]] == [10, 20]


def test_the_same_files_have_the_same_version_in_any_order() -> None:
    assert version_of({"a": "1", "b": "2"}) == version_of({"b": "2", "a": "1"}) != version_of({"a": "2", "b": "1"})
    assert json.loads(json.dumps(read(texts_of(Folder())[0])))
