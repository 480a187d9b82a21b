"""The store of a worker: a worker starts without it, and the stages that need it wait for it."""

from __future__ import annotations

from threading import Lock

import structlog

from service.install import Install
from storage.errors import Unreachable
from storage.migrate import migrate
from storage.store import Store

log = structlog.get_logger()


class LateStore:
    """Opened and migrated by the first call that finds it up. Blocking; may be called from any thread."""

    def __init__(self, install: Install) -> None:
        self._install = install
        self._lock = Lock()
        self._store: Store | None = None

    def __call__(self) -> Store:
        """Raises Unreachable while nobody answers; Rejected when the DSN, the password or a table is wrong."""
        with self._lock:
            if self._store is None:
                store = self._install.open_store()
                try:
                    migrate(store, retention_days=self._install.folder.wiring.store.retention_days)
                except BaseException:
                    store.close()
                    raise
                self._store = store
            return self._store

    def try_now(self) -> None:
        """At the start: what a person has to mend is raised, a store that is away is only told of."""
        try:
            self()
        except Unreachable as error:
            log.warning("the store is away; what belongs there waits in Kafka until it is back", why=str(error))

    def close(self) -> None:
        with self._lock:
            if self._store is not None:
                self._store.close()
