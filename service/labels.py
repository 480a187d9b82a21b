"""The marks that a backtest or an explanation goes by: a file's, or those that the store has."""

from __future__ import annotations

from schemas.records import Mark
from service.history import Wanted, store_of
from service.install import Install
from service.mark_commands import labels_of
from service.setup_commands import no_answer
from storage.errors import StoreError


def marks_for(install: Install, wanted: Wanted) -> list[Mark]:
    """Of the file when one is named; else, when stored history is played, of the store."""
    if wanted.labels:
        return labels_of(wanted.labels)
    if wanted.files:
        return []
    store = store_of(install)
    try:
        return store.marks()
    except StoreError as error:
        raise no_answer(error) from error
    finally:
        store.close()
