"""The marks that a backtest or an explanation goes by: a file's, or those that the store has."""

from __future__ import annotations

from schemas.records import Mark
from service.errors import UserError
from service.history import Wanted
from service.install import Install
from service.mark_commands import labels_of
from service.setup_commands import connect
from storage.errors import StoreError


def marks_for(install: Install, wanted: Wanted) -> list[Mark]:
    """Of the file when one is named; else, when stored history is played, of the store."""
    if wanted.labels:
        return labels_of(wanted.labels)
    if wanted.files:
        return []
    store = connect(install)
    try:
        return store.marks()
    except StoreError as error:
        raise UserError(f"the store does not answer: {error}; is it migrated (`keyfuse migrate`)?") from error
    finally:
        store.close()
