"""A whole incident as the store has it: a stolen key, found, cut after an approval, and marked."""

from __future__ import annotations

from dataclasses import replace

from detectors.core import ScoreCore
from detectors.one_key import pack_cohort, pack_key
from schemas.config import DetectorsConfig, KeysConfig, PeopleConfig, ResponsesConfig
from schemas.evidence import ConfigInForce, Hold, KeyState
from schemas.records import (
    AuditRow,
    Command,
    Finding,
    Incident,
    IncidentState,
    KeyFacts,
    Mark,
    Outcome,
    Scaled,
    Sketch,
    StepState,
)
from schemas.signing import Signer
from service.config_kept import texts_of, version_of
from service.config_tree import Folder
from service.evidence_facts import Evidence, gather
from storage.audit import append, seal
from storage.rows import StoredRecord, record_row
from storage.store import Store
from tests.storage.frames import HOUR_MS, MINUTE_MS, T0, Use, archive_uses, frame

KEY = "fp1:a"
INCIDENT = "inc_1"
CHAIN = "keyfuse.audit:0"
FACTS = KeyFacts(provider="openai", team="search", app="web", env="prod", provider_ref="key_1")
SKETCH = Sketch(at_ms=T0, minutes=Scaled(), tens=Scaled(), by_hour=Scaled(), peak_1m=2.0, peak_10m=1.5, windows=900)


def version(seq: int, state: IncidentState, at_ms: int, words: str, by: str = "keyfuse") -> Incident:
    return Incident(
        incident_id=INCIDENT, seq=seq, key_id=KEY, state=state, severity="critical", families=("velocity", "origin"),
        headline="$40.00/min, 20 times its <usual>", opened_at_ms=T0 + 5000, updated_at_ms=at_ms,
        last_finding_at_ms=T0 + 5000, findings=2, usd_per_min=40.0, expected_usd_per_min=1.0, lost_usd=120.0,
        acceptable_loss_usd=50.0, mode="approve", facts=FACTS, transition=words, by=by,
    )  # fmt: skip


def finding(nth: int, at_ms: int, family: str = "velocity") -> Finding:
    return Finding.model_validate({
        "finding_id": f"fnd_{nth}", "at_ms": at_ms, "key_id": KEY, "family": family, "detector": family,
        "severity": "critical", "score": 6.5, "certain": False, "reason": f"{family} speaks", "evidence": {"usd": 40.0},
        "usd_per_min": 40.0, "expected_usd_per_min": 1.0, "facts": FACTS, "sketch": SKETCH,
    })  # fmt: skip


def command(**given: object) -> Command:
    plain = {
        "command_id": "cmd_1", "at_ms": T0 + 65_000, "incident_id": INCIDENT, "key_id": KEY, "step": "disable",
        "automatic": False, "reversible": True, "mode": "approve", "by": "keyfuse", "approvals": ("ann",),
        "reason": "spend", "facts": FACTS,
    }  # fmt: skip
    return Command.model_validate(plain | given)


def outcome(state: StepState, at_ms: int, **given: object) -> Outcome:
    plain = {"command_id": "cmd_1", "incident_id": INCIDENT, "key_id": KEY, "step": "disable", "detail": "401"}
    return Outcome.model_validate(plain | {"state": state, "at_ms": at_ms} | given)


def audit_row(nth: int, at_ms: int, incident_id: str = INCIDENT, key_id: str = KEY) -> AuditRow:
    return AuditRow(
        audit_id=f"aud_{nth}", at_ms=at_ms, actor="ann", action="disable.apply", key_id=key_id, incident_id=incident_id,
        command_id="cmd_1", result="ok", detail={"answer": "it is inactive"},
    )  # fmt: skip


MARK = Mark(
    mark_id=Mark.id_of("", "old"), at_ms=T0 - MINUTE_MS, by="bo", verdict="expected", reason="load test", key_id=KEY,
    from_ms=T0 - MINUTE_MS, until_ms=T0 + MINUTE_MS,
)  # fmt: skip
HOLD = Hold(
    hold_id=Hold.id_of(INCIDENT, "cy", "matter 12"), at_ms=T0 + 100_000, by="cy", reason="matter 12",
    incident_id=INCIDENT, key_id=KEY, from_ms=T0 - 3_600_000,
)  # fmt: skip
BEFORE = Folder(
    keys=KeysConfig.model_validate({"keys": [{"key_id": name, "provider": "p"} for name in (KEY, "fp1:b")]}),
    people=PeopleConfig.model_validate({"people": {"ann": {"role": "approver"}}}),
)
AFTER = replace(BEFORE, responses=ResponsesConfig(mode="approve"))


def in_force(folder: Folder, at_ms: int, *roles: str) -> ConfigInForce:
    files = {text.file: text.sha256 for text in texts_of(folder)}
    return ConfigInForce(
        at_ms=at_ms, worker=f"w{at_ms}", roles=roles, cause="start", version=version_of(files), files=files
    )


def learned() -> KeyState:
    """What a core makes of the key's first events."""
    core = ScoreCore(DetectorsConfig(), partition=0)
    core.process(frame([Use(f"l{nth}", nth, ts_ms=T0 - HOUR_MS + nth * 1000) for nth in range(9)]))
    facts = core.book.facts[core.book.slot_of[KEY]]
    return KeyState(
        key_id=KEY, at_ms=T0 + 5000, finding_id="fnd_2", clock_s=core.clock_s, state=pack_key(core, KEY),
        cohort=pack_cohort(*core.population.export(), facts),
    )  # fmt: skip


STATE = learned()
RECORDS: tuple[StoredRecord, ...] = (
    version(1, "open", T0 + 5000, "opened"),
    version(2, "contained", T0 + 69_000, "the key is cut"),
    version(3, "acknowledged", T0 + 80_000, "seen", by="ann"),
    finding(1, T0),
    finding(2, T0 + 5000, "origin"),
    finding(3, T0 + 6000),
    command(),
    outcome(StepState.AWAITING_APPROVAL, T0 + 6000),
    outcome(StepState.CONFIRMED, T0 + 69_000, seconds_to_effective=4.0),
    MARK,
    HOLD,
    *texts_of(BEFORE),
    *texts_of(AFTER),
    in_force(BEFORE, T0 - HOUR_MS, "score", "decide"),
    in_force(AFTER, T0 + 30_000, "decide"),
    STATE,
)


def fill(store: Store, signer: Signer | None = None) -> None:
    """All of it, and the rows of another incident that must stay out."""
    for record in RECORDS:
        table, row = record_row(record)
        store.insert_records(table, [row])
    rows = [audit_row(1, T0 + 66_000), audit_row(2, T0 + 67_000, "inc_2", "fp1:b"), audit_row(3, T0 + 68_000)]
    append(store, CHAIN, [record_row(row)[1] for row in rows])
    seal(store, signer, now_ms=T0 + 90_000)
    minutes = ((-3, 1.0), (-2, 30.0), (-1, 40.0), (0, 40.0), (1, 10.0), (2, 0.5))
    archive_uses(store, [
        Use(f"e{nth}", nth, ts_ms=T0 + minute * MINUTE_MS, cost_nano_usd=int(usd * 1e9))
        for nth, (minute, usd) in enumerate(minutes)
    ] + [Use("other", 90, key_id="fp1:b")])  # fmt: skip


def told(store: Store) -> Evidence:
    """What is gathered of it."""
    evidence = gather(store, INCIDENT, before_ms=3_600_000, now_ms=T0 + 7_200_000)
    assert evidence is not None
    return evidence
