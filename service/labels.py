"""What a backtest or an explanation goes by besides the folder: marks, exceptions, and keys that were issued."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from schemas.exception import PolicyException
from schemas.key_record import KeyRecord
from schemas.records import Mark
from service.history import Wanted, store_of
from service.install import Install
from service.mark_commands import labels_of
from service.setup_commands import no_answer
from storage.errors import StoreError
from storage.history import exceptions
from storage.store import Store

_T = TypeVar("_T")


def marks_for(install: Install, wanted: Wanted) -> list[Mark]:
    """Of the file when one is named; else, when stored history is played, of the store."""
    if wanted.labels:
        return labels_of(wanted.labels)
    if wanted.files:
        return []
    return list(_stored(install, lambda store: store.marks()))


def exceptions_for(install: Install, files: Sequence[str]) -> tuple[PolicyException, ...]:
    """Of the store, as they held, when stored history is played; files tell nothing of them."""
    return () if files else PolicyException.as_they_held(_stored(install, exceptions))


def issued_for(install: Install, files: Sequence[str]) -> tuple[KeyRecord, ...]:
    """The keys that commands made or changed, in the same way."""
    return () if files else tuple(_stored(install, lambda store: store.key_records()))


def _stored(install: Install, read: Callable[[Store], Iterable[_T]]) -> Iterable[_T]:
    store = store_of(install)
    try:
        return read(store)
    except StoreError as error:
        raise no_answer(error) from error
    finally:
        store.close()
