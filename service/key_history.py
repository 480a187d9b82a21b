"""How a key came to be as it is: what commands changed, and what people changed in keys.yaml.

Pure but for `written`, which asks the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from schemas.evidence import ConfigInForce
from schemas.key_record import KeyRecord
from schemas.records import rfc3339
from service.config_kept import part_of, read
from storage.kept import config_texts, config_words
from storage.store import Store

_OWN: Final = frozenset({"type", "key_id", "seq", "at_ms", "by", "change", "request_id", "created_ms"})
_TIMES: Final = "_ms"


class Line(NamedTuple):
    """One change."""

    at_ms: int
    by: str
    words: str


def lines_of(versions: Sequence[KeyRecord]) -> list[Line]:
    """What each version says happened, and which of its fields are others than before."""
    before: KeyRecord | None = None
    found = []
    for version in versions:
        changed = list(_changed(before.model_dump(), version.model_dump())) if before is not None else []
        found.append(Line(version.at_ms, version.by, "; ".join([version.change, *changed])))
        before = version
    return found


def written_lines(
    words: Iterable[ConfigInForce], entries: Mapping[str, Mapping[str, Any] | None], part: str
) -> list[Line]:
    """The same of the key's entry in keys.yaml. `entries` are what each text of that part said of it, by digest; who
    changed it the folder does not know: its own history does.
    """
    found: list[Line] = []
    before: Mapping[str, Any] | None = None
    for word in words:
        digest = word.files.get(part)
        if digest is not None and digest not in entries:
            continue  # too large to be kept
        now = entries[digest] if digest is not None else None
        if now == before:
            continue
        if before is None or now is None:
            what = "registered" if before is None else "taken out"
        else:
            what = "; ".join(_changed(before, now))
        found.append(Line(word.at_ms, "keys.yaml", what))
        before = now
    return found


def written(store: Store, key_id: str, until_ms: int) -> list[Line]:
    """Of the configurations that workers followed, as far as the store has them."""
    words, part = config_words(store, until_ms), part_of(key_id)
    texts = config_texts(store, sorted({word.files[part] for word in words if part in word.files}))
    contents = {digest: read(text) for digest, text in texts.items()}
    entries = {
        digest: next((key for key in content if key["key_id"] == key_id), None)
        for digest, content in contents.items() if content is not None
    }  # fmt: skip
    return written_lines(words, entries, part)


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in now:
        if name not in _OWN and now[name] != before.get(name):
            yield f"{name.removesuffix(_TIMES)} {_said(name, before.get(name))} → {_said(name, now[name])}"


def _said(name: str, value: Any) -> str:  # noqa: ANN401 - any field's
    if value in (None, "", (), []):
        return "none"
    if name.endswith(_TIMES):
        return rfc3339(int(value))
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
