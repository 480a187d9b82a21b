"""`keyfuse leak`: what a person has found, and the secret itself only where nobody sees it."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from schemas.records import AuditRow, Finding
from service.cli import main
from service.errors import UserError
from service.install import Install
from service.leak_command import SECRET, leak
from streams.kafka import create_topics
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.faust_engine import read_all
from tests.service.folder import FolderWith
from tests.service.test_request_commands import KEYS, wiring

ODD = "Acme-Odd-Key-000000001"
LOOKS = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"


@pytest.fixture
def config(folder_with: FolderWith, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Registered keys; nothing runs, and the store is out of reach."""
    monkeypatch.setenv("KEYFUSE_PEPPER", "pepper")
    folder = folder_with(keys=KEYS)
    wiring(folder, "127.0.0.1:1", "none.")
    return folder


def said(config: Path, key_id: str, *, secret: str = "", url: str = "https://p/1", confidence: str = "high") -> str:
    out = io.StringIO()
    place = ("public repository", url)
    leak(config, key_id, place=place, confidence=confidence, by="ann", read=lambda: secret, out=Console(file=out))
    return " ".join(out.getvalue().split())


@pytest.mark.parametrize(
    ("key_id", "secret", "confidence", "words"),
    [
        (LOOKS, "", "high", "this looks like the secret itself: `keyfuse leak -` asks for it"),
        (SECRET, "short", "high", "key: Value should have at least 8"),
        (SECRET, "", "high", "key: "),
        ("key-1", "", "sure", "confidence: Input should be 'low', 'medium' or 'high'"),
        ("key-1", "", "high", "the broker at 127.0.0.1:1 does not answer"),
    ],
)
def test_a_slip_is_one_sentence_without_the_secret(
    config: Path, key_id: str, secret: str, confidence: str, words: str
) -> None:
    with pytest.raises(UserError, match=words) as raised:
        said(config, key_id, secret=secret, confidence=confidence)
    assert LOOKS not in str(raised.value)


async def test_what_a_person_says_reaches_the_stages_without_the_secret(
    config: Path, tansu_broker: Broker, prefix: str
) -> None:
    wiring(config, tansu_broker.bootstrap, prefix)
    install = Install.open(config)
    await create_topics(tansu_broker.bootstrap, install.topics.specs())
    named = await asyncio.to_thread(said, config, "proj_a/key_1")
    typed = await asyncio.to_thread(said, config, SECRET, secret=f"{ODD}\n", url=f"https://p/{ODD}")
    key_id = install.fingerprinter().of(ODD)
    assert "reported key-1 as leaked: it is in keys.yaml" in named
    assert f"reported {key_id} as leaked: nobody can say whether it is in use" in typed
    topics = install.topics
    values = [
        value or b""
        for topic in (Topic.FINDINGS, Topic.AUDIT)
        for partition in range(topics.count(topic))
        for _, value in await read_all(tansu_broker.bootstrap, topics.name(topic), partition)
    ]
    assert not any(ODD.encode() in value for value in values)
    findings = {one.key_id: one for one in (Finding.from_bytes(v) for v in values if b'"finding"' in v[:30])}
    rows = [AuditRow.from_bytes(value) for value in values if b'"audit"' in value[:30]]
    assert {name: (one.severity, one.detector) for name, one in findings.items()} == {
        "key-1": ("critical", "person"), key_id: ("warning", "person"),
    }  # fmt: skip
    assert [(row.actor, row.action, row.result) for row in rows] == [
        ("ann", "leak", "registered"), ("ann", "leak", "unsure"),
    ]  # fmt: skip


def test_the_command_line_wants_to_know_in_what_it_was_found(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["leak", "key-1"])
    assert "Missing option '--source'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["leak", LOOKS, "--source", "paste"])
    said = capsys.readouterr().err
    assert "asks for it, so that nobody sees it" in said
    assert LOOKS not in said
