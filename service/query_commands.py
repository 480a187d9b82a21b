"""`keys` and `incidents`: asked of the running worker, or of the store itself when nothing runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import httpx
from rich.console import Console
from rich.table import Table

from schemas.records import IncidentState, rfc3339
from service.errors import UserError
from service.install import Install, Running, wall_ms
from service.setup_commands import connect
from storage.errors import StoreError
from storage.store import Store


class StoreAnswers:
    """The store's answers as plain rows: what `/v1/keys` and `/v1/incidents` give."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keys(self, hours: float) -> list[dict[str, Any]]:
        return [asdict(use) for use in self._store.keys(wall_ms() - int(hours * 3_600_000))]

    def incidents(self, state: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        wanted = state if state in get_args(IncidentState) else None
        return [incident.model_dump(mode="json") for incident in self._store.incidents(wanted, limit=limit)]  # type: ignore[arg-type]  # checked above


def keys(config: Path, *, hours: float, out: Console) -> None:
    """A table, dearest first."""
    rows = _ask(config, "keys", {"hours": hours})
    table = Table("key", "provider", "team", "env", "requests", "USD", "last used")
    for row in rows:
        table.add_row(
            row["key_id"], row["provider"], row["team"], row["env"], f"{row['requests']:,}", f"{row['usd']:,.2f}",
            rfc3339(row["last_seen_ms"]),
        )  # fmt: skip
    out.print(table if rows else f"no key was used in the last {hours:g} hours")


def incidents(config: Path, *, state: str, out: Console) -> None:
    """A table, newest first, and the steps of each."""
    if state != "all" and state not in get_args(IncidentState):
        raise UserError(f"--state {state}: expected all or one of {', '.join(get_args(IncidentState))}")
    rows = _ask(config, "incidents", {} if state == "all" else {"state": state})
    table = Table("since", "state", "severity", "key", "team", "env", "USD lost", "what", "steps")
    for row in rows:
        facts = row["facts"]
        steps = ", ".join(f"{step['step']} {step['state']}" for step in row["steps"])
        table.add_row(
            rfc3339(row["opened_at_ms"]), row["state"], row["severity"], row["key_id"], facts["team"], facts["env"],
            f"{row['lost_usd']:,.2f}", row["headline"], steps,
        )  # fmt: skip
    out.print(table if rows else "no incidents")


def _ask(config: Path, what: str, parameters: dict[str, Any]) -> Sequence[dict[str, Any]]:
    install = Install.open(config)
    running = Running.find(install.data_dir)
    if running is not None:
        return _over_http(install, running, what, parameters)
    store = connect(install.folder.wiring, install)
    try:
        answers = StoreAnswers(store)
        return answers.keys(**parameters) if what == "keys" else answers.incidents(**parameters)
    except StoreError as error:
        raise UserError(f"the store does not answer: {error}; is it migrated (`keyfuse migrate`)?") from error
    finally:
        store.close()


def _over_http(install: Install, running: Running, what: str, parameters: dict[str, Any]) -> Sequence[dict[str, Any]]:
    headers = {"authorization": f"Bearer {install.intake_token().get_secret_value()}"}
    try:
        answer = httpx.get(f"{running.url}/v1/{what}", params=parameters, headers=headers, timeout=30)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise UserError(f"the worker at {running.url} does not answer: {error}") from error
    rows: list[dict[str, Any]] = answer.json()
    return rows
