"""The configuration that workers follow, written down: each content once, and from when on which.

`keys.yaml` may name a hundred thousand keys. Its list is kept in parts by key: a record stays small, a changed key
makes one new part and not a new copy of all, and who asks for one key reads one part.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from schemas.audit_chain import canonical
from schemas.evidence import ConfigInForce, ConfigText
from schemas.records import stable_id
from service.config_shown import shown
from service.config_tree import Folder
from streams.outbox import Outbox
from streams.topics import Topic

KEYS: Final = "keys.yaml"
_PARTS: Final = 64
_MOST_BYTES: Final = 3_000_000  # of a record's six, before base64


def part_of(key_id: str) -> str:
    """Which part of keys.yaml tells of a key.

    >>> part_of("fp1:00")
    'keys.yaml/54'
    """
    return f"{KEYS}/{zlib.crc32(key_id.encode()) % _PARTS:02d}"


def texts_of(folder: Folder) -> list[ConfigText]:
    """Every file as it may be seen, keys.yaml in parts."""
    files = shown(folder)
    parts: dict[str, list[Any]] = defaultdict(list)
    for key in files[KEYS].pop("keys"):
        parts[part_of(key["key_id"])].append(key)
    return [_text(name, content) for name, content in sorted({**files, **parts}.items())]


def read(text: ConfigText) -> Any:  # noqa: ANN401 - any JSON
    """What the file said; None when it was too large to be kept."""
    return json.loads(zlib.decompress(text.packed)) if text.packed else None


def version_of(files: Mapping[str, str]) -> str:
    """A short name that the same files always have."""
    return stable_id("cfg", canonical(files).decode())


def _text(name: str, content: object) -> ConfigText:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    packed = zlib.compress(text)
    kept = packed if len(packed) <= _MOST_BYTES else b""
    return ConfigText(sha256=hashlib.sha256(text).hexdigest(), file=name, packed=kept)


class ConfigTeller:
    """Tells the archive what one worker follows from a time on. What it has told once it does not send again."""

    def __init__(self, outbox: Outbox, *, worker: str, roles: Sequence[str]) -> None:
        self._outbox, self._worker, self._roles = outbox, worker, tuple(roles)
        self._told: set[str] = set()
        self._cause: Literal["start", "reload"] = "start"

    async def tell(self, folder: Folder, *, since_ms: int) -> None:
        """Returns when the broker has it. May be repeated."""
        texts = await asyncio.to_thread(texts_of, folder)
        new = [text for text in texts if text.sha256 not in self._told]
        await self._outbox.send(Topic.CONFIG, [(text.sha256, text) for text in new])
        self._told = {text.sha256 for text in texts}
        files = {text.file: text.sha256 for text in texts}
        version = version_of(files)
        word = ConfigInForce(
            at_ms=since_ms, worker=self._worker, roles=self._roles, cause=self._cause, version=version, files=files
        )
        await self._outbox.send(Topic.CONFIG, [(self._worker, word)])
        self._cause = "reload"


class ConfigNews:
    """From the reload, which must not wait, to the teller, which has to."""

    def __init__(self, folder: Folder, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._waiting: list[tuple[Folder, int]] = [(folder, now_ms())]
        self._news = asyncio.Event()
        self._news.set()

    def changed(self, folder: Folder) -> None:
        """It is followed from now on."""
        self._waiting.append((folder, self._now_ms()))
        self._news.set()

    async def follow(self, teller: ConfigTeller) -> None:
        """For ever; what a failure kept from being told is told at the next start of this loop."""
        while True:
            await self._news.wait()
            while self._waiting:
                folder, since_ms = self._waiting[0]
                await teller.tell(folder, since_ms=since_ms)
                self._waiting.pop(0)
            self._news.clear()
