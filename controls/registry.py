"""The identity plane: what people wrote down about each key, and what became of the keys that were issued."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from schemas.config.keys import KeyConfig, KeysConfig
from schemas.key_record import UNMADE, KeyRecord
from schemas.records import KeyFacts

NEVER_USED: Final = frozenset({"pending", "refused"})
LIVED: Final = (
    "seq", "at_ms", "by", "change", "state", "replaced_by", "replaces", "formerly", "valid_until_ms", "rotate_by_ms",
    "rotated_by", "retire_asked_ms", "request_id",
)  # fmt: skip
"""What a record says of a key of keys.yaml, besides who owns it and when it was rotated and revalidated."""


class Registry:
    """`keys.yaml`, ready to be asked.

    >>> from schemas.config.keys import KeyConfig
    >>> registry = Registry(KeysConfig(keys=(KeyConfig(key_id="k1", provider="openai", team="search"),)))
    >>> registry.facts_of("k1").team, registry.facts_of("k2"), len(registry)
    ('search', None, 1)

    `records` are the newest of each key that commands made or changed.

    Raises:
        ValueError: a key is listed twice; two entries could disagree on whether it is protected.
    """

    def __init__(self, config: KeysConfig, records: Iterable[KeyRecord] = ()) -> None:
        twice = [key_id for key_id, times in Counter(key.key_id for key in config.keys).items() if times > 1]
        if twice:
            raise ValueError(f"keys.yaml lists {', '.join(sorted(twice))} more than once; keep one entry for each key")
        self._written = {key.key_id: key.record() for key in config.keys}
        self._entries = dict(self._written)
        self._facts = {key_id: entry.facts() for key_id, entry in self._entries.items()}
        refs = Counter(key.provider_ref for key in config.keys)
        self._by_ref = {key.provider_ref: key.key_id for key in config.keys if refs[key.provider_ref] == 1}
        self._backups = {key.key_id: key for key in config.keys if key.backup}
        self._records: dict[str, KeyRecord] = {}
        self._asked: dict[str, str] = {}
        self._owned: dict[tuple[str, str], set[str]] = {}
        self._heirs: dict[str, tuple[str, ...]] = {}
        self._since: list[KeyRecord] | None = None
        for record in records:
            self.take(record)

    def take(self, record: KeyRecord) -> bool:
        """A key as it is from now on; False for a version that is not newer than what is known.

        In place: a hundred thousand others need not be looked at again for one that was issued.
        """
        known = self._records.get(record.key_id)
        if known is not None and record.seq <= known.seq:
            return False
        self._records[record.key_id] = record
        if self._since is not None:
            self._since.append(record)
        if known is not None:
            self._owned[known.owner, known.env].discard(known.key_id)
        self._owned.setdefault((record.owner, record.env), set()).add(record.key_id)
        if record.request_id and (record.request_id not in self._asked or not record.replaced_by):
            self._asked[record.request_id] = record.key_id
        written = self._written.get(record.key_id)
        entry = self._entries[record.key_id] = _gone_on(written, record) if written else record
        if entry.formerly:
            self._heirs[entry.key_id] = entry.formerly
        if entry.state in NEVER_USED or entry.key_id.startswith(UNMADE):
            self._facts.pop(record.key_id, None)
            return True
        self._facts[record.key_id] = entry.facts()
        if written is None:
            self._lead_to(record)
        return True

    def _lead_to(self, record: KeyRecord) -> None:
        """An issued key is found by its provider's name, too, and has the backup that was asked for with it."""
        if record.provider_ref:
            self._by_ref.setdefault(record.provider_ref, record.key_id)
        if record.backup:
            same = ("key_id", "provider", "provider_ref", "team", "app", "env", "protected", "backup")
            self._backups[record.key_id] = KeyConfig(**{name: getattr(record, name) for name in same})

    def asked_for(self, request_id: str) -> KeyRecord | None:
        """The key that was made for this request; None when nothing was made for it."""
        return self._entries.get(self._asked.get(request_id, ""))

    def owned_by(self, owner: str, env: str) -> list[KeyRecord]:
        """Their keys in an environment, of those that commands made or changed."""
        return [self._records[key_id] for key_id in self._owned.get((owner, env), ())]

    def records(self) -> Collection[KeyRecord]:
        """The newest version of each key that commands made or changed."""
        return self._records.values()

    def parting(self) -> tuple[list[KeyRecord], list[KeyRecord]]:
        """For the registry that will come after this one: the records there are, and a list that those that come
        meanwhile are added to.
        """
        self._since = []
        return list(self._records.values()), self._since

    def parts(self) -> list[object]:
        """All that it holds, for who lets go of it: a hundred thousand keys given back at once take a while."""
        kept = (self._written, self._entries, self._facts, self._backups, self._records)
        return [part for each in kept for part in each.values()]

    def facts_of(self, key_id: str) -> KeyFacts | None:
        """What is written about the key; None when nobody registered it."""
        return self._facts.get(key_id)

    def entry(self, key_id: str) -> KeyRecord | None:
        """All that is known of the key, also of one that is not served yet or any more."""
        return self._entries.get(key_id)

    def entries(self) -> Mapping[str, KeyRecord]:
        """key_id → all that is known of it."""
        return MappingProxyType(self._entries)

    def heirs(self) -> Mapping[str, tuple[str, ...]]:
        """key_id → the keys that it took over from, oldest first; of those alone that did."""
        return MappingProxyType(self._heirs)

    def named(self, name: str) -> tuple[str, KeyFacts] | None:
        """The key of that `key_id`, else the only one of that `provider_ref`: people know a key by either."""
        key_id = name if name in self._facts else self._by_ref.get(name, "")
        facts = self._facts.get(key_id)
        return (key_id, facts) if facts is not None else None

    def all_facts(self) -> Mapping[str, KeyFacts]:
        """key_id → what is written about it."""
        return MappingProxyType(self._facts)

    def with_backup(self, key_id: str) -> KeyConfig | None:
        """The key's entry, if it names a backup."""
        return self._backups.get(key_id)

    def users_of(self, backup: str) -> tuple[str, ...]:
        """The keys that name this one as their backup, in the order of `keys.yaml`.

        >>> from schemas.config.keys import KeyConfig
        >>> keys = (KeyConfig(key_id="k1", provider="openai", backup="k2"), KeyConfig(key_id="k2", provider="openai"))
        >>> registry = Registry(KeysConfig(keys=keys))
        >>> registry.users_of("k2"), registry.with_backup("k2")
        (('k1',), None)
        """
        return tuple(key_id for key_id, key in self._backups.items() if key.backup == backup)

    def __len__(self) -> int:
        return len(self._facts)


def _gone_on(written: KeyRecord, record: KeyRecord) -> KeyRecord:
    """A key of keys.yaml after commands changed it: what is written there holds, but for how its life went on."""
    lived = {name: getattr(record, name) for name in LIVED}
    newer = {
        name: max(filter(None, (getattr(written, name), getattr(record, name))), default=None)
        for name in ("rotated_ms", "revalidated_ms")
    }
    return written.model_copy(update=lived | newer | {"owner": record.owner or written.owner})
