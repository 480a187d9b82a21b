"""`keys` and `incidents`: asked of the running worker, or of the store itself when nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal, get_args

import httpx
from rich.console import Console

from alerting.words import INCIDENT_WORDS, clean, step_words, usd
from controls.leaks import leaks_words
from schemas.life import ROTATION
from schemas.records import TRIAL, Incident, IncidentState, rfc3339
from service.costs_answer import Asked, costs_answer
from service.errors import UserError
from service.evidence_answers import audit_answer, evidence_answer
from service.hold_answers import holds_answer
from service.install import Install, Running, wall_ms
from service.key_history import written
from service.setup_commands import connect, no_answer
from storage.errors import StoreError
from storage.history import acts, cut_seconds, findings
from storage.store import Store

Question = Literal[
    "keys", "incidents", "trial", "audit", "evidence", "holds", "planes", "key_history", "costs", "rotations"
]  # fmt: skip


_SLOW_S: Final = 600
"""Costs are added up from each event of eight weeks."""


class StoreAnswers:
    """The store's answers as plain rows: what `/v1/keys` and `/v1/incidents` give."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self._store = store

    def keys(self, hours: float, limit: int = 1000) -> list[dict[str, Any]]:
        return [asdict(use) for use in self._store().keys(wall_ms() - int(hours * 3_600_000), limit=limit)]

    def incidents(self, state: IncidentState | None = None, limit: int = 100) -> list[dict[str, Any]]:
        return [incident.model_dump(mode="json") for incident in self._store().incidents(state, limit=limit)]

    def planes(self) -> dict[str, Any]:
        """What reports on the planes ask: seconds of cuts by provider, and the evidence of each rotation."""
        store = self._store()
        rows = [row.model_dump(mode="json") for row in acts(store, ROTATION)]
        return {"cut_seconds": cut_seconds(store), "rotations": rows}

    def trial(self, from_ms: int, until_ms: int) -> dict[str, list[dict[str, Any]]]:
        """What the version in force and the candidate said in [from_ms, until_ms), and since when one is on trial."""
        store = self._store()
        return {
            "live": [told.model_dump(mode="json") for told in findings(store, "findings", from_ms, until_ms)],
            "shadow": [told.model_dump(mode="json") for told in findings(store, "findings_shadow", from_ms, until_ms)],
            "started": [row.model_dump(mode="json") for row in acts(store, TRIAL)],
        }

    def audit(self, from_ms: int | None = None, until_ms: int | None = None, *, whole: bool = False) -> dict[str, Any]:
        """What is wrong with the audit's chains, their heads, and if asked the rows."""
        return audit_answer(self._store(), from_ms, until_ms, whole=whole).model_dump(mode="json")

    def evidence(self, incident_id: str, before_ms: int) -> dict[str, Any] | None:
        """All that is stored of one incident; None when there is none of that name."""
        return evidence_answer(self._store(), incident_id, before_ms, now_ms=wall_ms())

    def rotations(self) -> list[dict[str, Any]]:
        """The evidence of each rotation that ended, oldest first."""
        return [row.detail for row in acts(self._store(), ROTATION)]

    def key_history(self, key_id: str) -> dict[str, list[dict[str, Any]]]:
        """Every version of a key that commands made or changed, and what changed of it in keys.yaml; oldest first."""
        store = self._store()
        records = [record.model_dump(mode="json") for record in store.key_history(key_id)]
        return {"records": records, "written": [line._asdict() for line in written(store, key_id, wall_ms())]}

    def holds(self, incident_id: str = "") -> list[dict[str, Any]]:
        """Legal holds and what each holds, newest first."""
        return [standing.model_dump(mode="json") for standing in holds_answer(self._store(), incident_id)]

    def costs(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - the fields of Asked
        """What was spent, as `Asked` says; ValueError for a span that ends before it begins."""
        return costs_answer(self._store(), Asked(**asked), now_ms=wall_ms()).model_dump(mode="json")


def keys(config: Path, *, hours: float, out: Console) -> None:
    """One line a key, dearest first; the key's whole name last, so that it can be copied."""
    rows = ask(config, "keys", {"hours": hours})
    lines = [_key_line(row) for row in rows] if rows else [f"no key was used in the last {hours:g} hours"]
    if rows:
        lines.insert(0, f"{'USD':>10} {'requests':>10}  {'last used, UTC':<16}  env      key (owner, provider)")
    out.print("\n".join(lines), markup=False)


def _key_line(row: dict[str, Any]) -> str:
    last_used = rfc3339(row["last_seen_ms"])[:16].replace("T", " ")
    owner = clean(f"{row['team']}/{row['app']}, {row['provider']}", 80)
    return (
        f"{row['usd']:>10,.2f} {row['requests']:>10,}  {last_used:<16}  {clean(row['env'], 40):<8} "
        f"{clean(row['key_id'])} ({owner})"
    )


def incidents(config: Path, *, state: str, out: Console) -> None:
    """One block an incident, newest first, with its steps."""
    if state != "all" and state not in get_args(IncidentState):
        raise UserError(f"--state {state}: expected all or one of {', '.join(get_args(IncidentState))}")
    rows = ask(config, "incidents", {} if state == "all" else {"state": state})
    blocks = [_block(Incident.model_validate(row)) for row in rows]
    out.print(
        "\n\n".join(blocks) if blocks else f"no incidents{'' if state == 'all' else f' in state {state}'}", markup=False
    )


def _block(incident: Incident) -> str:
    facts = incident.facts
    owner = clean(f"{facts.team}/{facts.app} in {facts.env}, {facts.provider}", 120)
    since = rfc3339(incident.opened_at_ms)[:19].replace("T", " ")
    lost, limit = usd(incident.lost_usd), usd(incident.acceptable_loss_usd)
    steps = [f"  - {step_words(step)}" for step in incident.steps]
    return "\n".join(
        [
            f"{incident.severity.upper()} {INCIDENT_WORDS[incident.state]} since {since} UTC, mode {incident.mode}",
            f"  id     {clean(incident.incident_id)}",
            f"  key    {clean(incident.key_id)}",
            f"  owner  {owner}",
            f"  lost   {lost} of {limit} acceptable; {usd(incident.usd_per_min)}/min at its last finding",
            f"  why    {clean(incident.headline)}",
            *([f"  leak   {clean(leaks_words(incident.leaks), 500)}"] if incident.leaks else []),
            f"  last   {clean(incident.transition)}",
            *(["  steps", *steps] if steps else []),
        ]
    )


def ask(config: Path, what: Literal["keys", "incidents"], parameters: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """Rows as `/v1/keys` and `/v1/incidents` give them. UserError when neither a worker nor the store answers."""
    rows: Sequence[dict[str, Any]] = answer_of(Install.open(config), what, parameters)
    return rows


def answer_of(install: Install, what: Question, parameters: dict[str, Any]) -> Any:  # noqa: ANN401 - the JSON of `/v1/<what>`
    """One of `StoreAnswers`, from the worker that runs here, else from the store itself."""
    running = Running.find(install.data_dir)
    if running is not None:
        return _over_http(install, running, what, parameters)
    store = connect(install)
    try:
        return getattr(StoreAnswers(lambda: store), what)(**parameters)
    except StoreError as error:
        raise no_answer(error) from error
    finally:
        store.close()


def _over_http(install: Install, running: Running, what: str, parameters: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
    headers = {"authorization": f"Bearer {install.query_token().get_secret_value()}"}
    try:
        timeout_s = _SLOW_S if what == "costs" else 30
        answer = httpx.get(f"{running.url}/v1/{what}", params=parameters, headers=headers, timeout=timeout_s)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise UserError(f"the worker runs, but {answer.json()['detail']}")
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise UserError(f"the worker at {running.url} does not answer: {error}") from error
    return answer.json()
