"""Evidence: what is gathered, told, packed and verified; and the commands as a person uses them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import KeysConfig, RoutesConfig, WiringConfig
from schemas.records import StepState, rfc3339
from schemas.signing import is_signed
from service.cli import main
from service.config_shown import of_key, shown
from service.config_tree import Folder
from service.evidence_answers import AuditAnswer
from service.evidence_archive import MANIFEST, SIGNATURE, pack, verify
from service.evidence_config import Configs
from service.evidence_facts import Evidence, gather
from service.evidence_members import about, members
from service.evidence_page import page
from service.evidence_state import Live
from service.evidence_story import Entry, Pace, pace, timeline
from service.http_app import create_app
from service.install import Install, Running
from service.local_server import LocalServer
from service.postmortem import draft, follow_ups
from service.query_commands import StoreAnswers, answer_of
from storage.audit import append
from storage.client import open_store
from storage.holds import keep
from storage.migrate import migrate
from storage.rows import record_row
from storage.store import Store
from storage.testing import fresh_dsn
from streams.health import Health
from streams.metrics import Metrics
from tests.service.evidence import HOLD, INCIDENT, KEY, MARK, command, fill, outcome, told
from tests.storage.frames import MINUTE_MS, T0
from tests.storage.test_audit import PEM, SIGNER

Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def dsn() -> str:
    return fresh_dsn()


@pytest.fixture(scope="module")
def store(dsn: str) -> Iterator[Store]:
    """One store for all; a test that changes it makes its own."""
    opened = open_store(dsn)
    migrate(opened, retention_days=36_500)
    fill(opened, SIGNER)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def evidence(store: Store) -> Evidence:
    return told(store)


@pytest.fixture
def run(
    store: Store, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """A command in a folder with the store's configuration and the signing key; its exit code and words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KEYFUSE_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "audit.pem").write_text(PEM)
    (tmp_path / "audit.pem").chmod(0o600)
    (tmp_path / "keyfuse.d").mkdir()
    wiring = f"store: {{dsn: '{dsn}'}}\nevidence: {{signing_key_file: audit.pem}}\n"
    (tmp_path / "keyfuse.d" / "keyfuse.yaml").write_text(wiring)

    def command(*words: str) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capfd.readouterr()
        assert "Traceback" not in said.err, said.err
        return int(ended.value.code or 0), said.out + said.err

    return command


def test_all_around_the_incident_is_gathered_and_nothing_of_others(evidence: Evidence) -> None:
    assert [each.seq for each in evidence.versions] == [1, 2, 3]
    assert [each.finding_id for each in evidence.findings] == ["fnd_1", "fnd_2", "fnd_3"]
    assert [(link.row.audit_id, link.seq) for link in evidence.audit] == [("aud_1", 1), ("aud_3", 3)]
    assert [mark.mark_id for mark in evidence.marks] == [MARK.mark_id]
    rows = pq.read_table(io.BytesIO(evidence.parquet))
    assert set(rows.column("key_id").to_pylist()) == {KEY}
    assert rows.num_rows == evidence.events == len(evidence.minutes) == 6
    assert rows.column("ts_ms").to_pylist() == [T0 + minute * MINUTE_MS for minute in range(-3, 3)]


def test_it_travels_as_json(store: Store, evidence: Evidence) -> None:
    assert Evidence.model_validate_json(json.dumps(evidence.model_dump(mode="json"))) == evidence
    assert gather(store, "inc_none", before_ms=0, now_ms=T0) is None


def test_how_fast_it_went(evidence: Evidence) -> None:
    assert pace(evidence) == Pace(T0 - 2 * MINUTE_MS, 120.0, 5.0, 60.0, 4.0)


def test_what_the_records_do_not_tell_is_not_made_up(evidence: Evidence) -> None:
    bare = evidence.model_copy(update={"minutes": (), "commands": (), "outcomes": (), "findings": ()})
    assert pace(bare) == Pace(None, None, None, None, None)
    early = evidence.model_copy(update={"commands": (command(at_ms=T0),)})  # ordered before it opened: two clocks
    assert pace(early).contain_s is None
    late = evidence.model_copy(update={"commands": (command(at_ms=T0 + 70_000),)})  # ... and after it was confirmed
    assert pace(late).effective_s == 4.0  # what the contain stage measured itself


def test_the_timeline_is_in_the_order_of_time(evidence: Evidence) -> None:
    assert [(entry.kind, entry.who) for entry in timeline(evidence)] == [
        ("began", ""), ("mark", "bo"), ("finding", "velocity"), ("finding", "origin"), ("incident", "keyfuse"),
        ("outcome", "keyfuse"), ("command", "keyfuse"), ("provider", "ann"), ("provider", "ann"),
        ("outcome", "keyfuse"), ("incident", "keyfuse"), ("incident", "ann"),
    ]  # fmt: skip


def test_the_page_escapes_what_comes_from_outside(evidence: Evidence) -> None:
    html = page(evidence, [Entry(T0, "mark", "<b>eve</b>", "<script>alert(1)</script>")])
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "20 times its &lt;usual&gt;" in html


def test_the_page_tells_the_facts_first_then_the_days(evidence: Evidence) -> None:
    html = page(evidence, timeline(evidence))
    for words in (
        "<dt>Legal hold</dt><dd>by cy since 2026-11-23 10:01 UTC: matter 12</dd>",
        "detected after 2 min; opened after 5 s; cut ordered after 60 s; cut seen after 4 s",
        '<th colspan="4" class="day">2026-11-23</th>', "10:01:06.000",
    ):  # fmt: skip
        assert words in html
    assert "http" not in html.replace("http-equiv", "")


def test_who_approved_is_told_with_their_role(evidence: Evidence) -> None:
    [order] = [entry for entry in timeline(evidence) if entry.kind == "command"]
    assert "approved by ann (approver)" in order.words
    bare = evidence.model_copy(update={"configs": Configs()})
    [order] = [entry for entry in timeline(bare) if entry.kind == "command"]
    assert "approved by ann:" in order.words


def test_holds_stand_in_the_timeline_and_each_days_word_does_not() -> None:
    store = open_store(fresh_dsn())
    migrate(store, retention_days=36_500)
    fill(store)
    for now_ms in (T0 + 100_000, T0 + 90_000_000):
        rows, _ = keep(store, now_ms=now_ms)
        append(store, "keyfuse.audit:0", [record_row(row)[1] for row in rows])
    entries = [(entry.who, entry.words) for entry in timeline(told(store)) if entry.kind == "hold"]
    store.close()
    assert entries == [("cy", "legal hold placed: matter 12, events 6")]


def test_the_post_mortem_says_loss_pace_and_what_to_do(evidence: Evidence) -> None:
    text = draft(evidence)
    for words in (
        "# Post-mortem of inc\\_1", "| detect | first minute above the normal → first finding | 2 min |",
        "| effective | order → the provider was seen to refuse the key | 4 s |", "Lost $120.00 above normal",
        "After the minute in which the cut was confirmed it spent $0.50",
        "disable at the provider (by keyfuse): confirmed after 4 s: 401",
        "20 times its \\<usual\\>", f"`{rfc3339(T0)}` finding (velocity): velocity speaks", "TODO",
    ):  # fmt: skip
        assert words in text


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "The loss passed what is acceptable ($120.00 of $50.00)"),
        ({}, f"`usd_per_min: 4` for this key in detectors.yaml (2 times the most that is normal for it) "
             f"would have been exceeded first at {rfc3339(T0)} (2 min in all)"),
        ({}, "`keyfuse mark inc_1 true --reason '...'`"),
        ({}, f"keyfuse unmark {MARK.mark_id}"),
        ({}, "this one stays cut until `keyfuse restore fp1:a`"),
        ({"outcomes": (outcome(StepState.IRREVOCABLE, T0, detail="call them"),)}, "failed for good: check at the"),
        ({"outcomes": (outcome(StepState.REFUSED, T0, rule="cap"),)}, "refused by the rule `cap`: was that right?"),
        ({"outcomes": (outcome(StepState.AWAITING_APPROVAL, T0),)}, "still waits for an approval"),
        ({}, f"Under legal hold by cy (matter 12); to end it: `keyfuse unhold {HOLD.hold_id}`"),
        ({"holds": ()}, "where they must stay: `keyfuse hold inc_1 --reason '...'`"),
        ({"commands": (command(at_ms=T0 + 900_000),)}, "It took 14.9 min until a cut was ordered"),
    ],
)  # fmt: skip
def test_each_follow_up_has_its_reason(evidence: Evidence, changed: dict[str, object], words: str) -> None:
    given = evidence.model_copy(update=changed)
    assert sum(words in each for each in follow_ups(given)) == 1


def test_a_healthy_end_asks_for_little(evidence: Evidence) -> None:
    newest = evidence.incident.model_copy(update={"state": "false_positive", "lost_usd": 1.0})
    marked = MARK.model_copy(update={"incident_id": INCIDENT, "verdict": "false_positive"})
    given = evidence.model_copy(update={"versions": (newest,), "marks": (marked,), "holds": ()})
    assert follow_ups(given) == ["TODO: what else was learned"]


def test_the_archive_has_every_member_and_no_secret(evidence: Evidence) -> None:
    made = members(evidence, Folder(), Live())
    assert set(made) == {
        "events.parquet", "windows.json", "findings.ndjson", "incident.ndjson", "commands.ndjson", "outcomes.ndjson",
        "marks.ndjson", "audit.ndjson", "config.json", "timeline.json", "timeline.html", "postmortem.md",
        "holds.ndjson", "config_in_force.json", "state.json", "state/first_sign.kfs", "state/first_sign.cohort.kfs",
    }  # fmt: skip
    assert json.loads(made["timeline.json"])["pace"]["effective_s"] == 4.0
    assert all(made.values())


def test_the_configuration_is_without_secrets_and_without_other_keys() -> None:
    target = "https://chat.example.com/hook/Zm9vYmFy"
    chat = {"kind": "webhook", "target": target, "secret_env": "X"}
    folder = Folder(
        wiring=WiringConfig.model_validate({"store": {"dsn": "clickhouse://ann:hunter22@db:9000/keyfuse"}}),
        keys=KeysConfig.model_validate({"keys": [{"key_id": name, "provider": "p"} for name in ("a", "b")]}),
        routes=RoutesConfig.model_validate({"channels": {"chat": chat}}),
    )
    told_ = of_key(shown(folder), "b")
    assert [key["key_id"] for key in told_["keys.yaml"]["keys"]] == ["b"]
    assert "hunter22" not in json.dumps(told_)
    assert told_["routes.yaml"]["channels"]["chat"]["target"] == "https://chat.example.com/[redacted]"


def check(data: bytes, signature: str, public_key: str) -> bool:
    return is_signed(data, signature=signature, public_key=public_key)


def packed(**given: bytes) -> bytes:
    content = {"a.json": b"{}", "b.txt": b"words"} | given
    return pack(content, {"incident_id": "inc_1"}, lambda data: (SIGNER.public_key, SIGNER.sign(data)))


def again(data: bytes, **given: bytes | None) -> bytes:
    """The archive with members replaced, added or (None) left out, and the hashes of the file itself right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, each in {**content, **given}.items():
            if each is not None:
                archive.writestr(name, each)
    return sink.getvalue()


def test_an_archive_is_intact_and_the_same_bytes_each_time() -> None:
    found = verify(packed(), check)
    assert (found.wrong, found.members, found.public_key) == ((), 2, SIGNER.public_key)
    assert packed() == packed()
    assert verify(again(packed(), **{SIGNATURE: None}), check).public_key == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"b.txt": b"Words"}, "b.txt was changed"),
        ({"b.txt": None}, "b.txt is missing"),
        ({"c.txt": b""}, "c.txt was put in: the manifest does not name it"),
        ({MANIFEST: json.dumps({"members": {}}).encode()}, "manifest.json is not what manifest.sig.json signs"),
        ({SIGNATURE: b"{}"}, "manifest.json is not what manifest.sig.json signs"),
        ({SIGNATURE: b"[]"}, "manifest.json is not what manifest.sig.json signs"),
        ({SIGNATURE: b"null"}, "manifest.json is not what manifest.sig.json signs"),
    ],
)
def test_what_is_done_to_an_archive_shows(changes: dict[str, bytes | None], words: str) -> None:
    assert words in verify(again(packed(), **changes), check).wrong[0]


@given(st.integers(0, len(packed()) - 1), st.integers(1, 255))
def test_no_flipped_byte_makes_another_archive_pass_for_intact(at: int, flip: int) -> None:
    """A byte in the ZIP file's own fields may change nothing of what is in it: then it may pass."""
    data = bytearray(packed())
    data[at] ^= flip
    try:
        found = verify(bytes(data), check)
    except ValueError:
        return
    if not found.wrong:
        with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
            assert (archive.read("a.json"), archive.read("b.txt")) == (b"{}", b"words")


@pytest.mark.parametrize(
    "data", [b"", b"no zip", again(packed(), **{MANIFEST: None}), again(packed(), **{MANIFEST: b"[]"})]
)
def test_what_is_no_archive_is_said_so(data: bytes) -> None:
    with pytest.raises(ValueError, match="no archive"):
        verify(data, check)


def test_audit_verify_of_the_store_and_of_a_file(run: Run, tmp_path: Path) -> None:
    assert run("audit", "verify") == (0, "intact: 3 rows in 1 chains, 1 heads; 1 signed\n")
    assert run("audit", "verify", "--until", "1d")[0] == 0
    assert run("audit", "export", "rows.ndjson") == (0, "3 rows and 1 heads written to rows.ndjson\n")
    assert run("audit", "verify", "rows.ndjson", "--public-key", SIGNER.public_key)[0] == 0
    assert run("audit", "heads", "-")[1].count("audit_head") == 1
    lines = (tmp_path / "rows.ndjson").read_text().splitlines()
    forged = [lines[0], lines[1].replace("it is inactive", "it was active"), *lines[2:]]
    for changed, words in (
        (forged, "aud_2 (row 2 of keyfuse.audit:0) was changed"),
        ([lines[0], *lines[2:]], "row 2 is missing before aud_3"),
        ([lines[1], lines[0], *lines[2:]], "aud_1 (row 1 of keyfuse.audit:0) stands after row 2"),
        ([*lines[:2], lines[3]], "names row 3"),
        ([*lines[:3], lines[3].replace('"at_ms":', '"at_ms":1')], "is not what its signature signs"),
    ):
        (tmp_path / "changed.ndjson").write_text("\n".join(changed))
        code, said = run("audit", "verify", "changed.ndjson")
        assert code == 1
        assert words in said
        assert "BROKEN" in said


def test_audit_verify_of_a_part_of_a_file(run: Run, tmp_path: Path) -> None:
    run("audit", "export", "rows.ndjson")
    bounds = ("--from", rfc3339(T0 + 66_500), "--until", rfc3339(T0 + 69_000))
    assert run("audit", "verify", "rows.ndjson", *bounds)[1].startswith("intact: 2 rows")
    assert run("audit", "verify", *bounds)[1].startswith("intact: 2 rows")


def test_without_a_key_the_commands_say_that_nothing_is_signed(run: Run, dsn: str, tmp_path: Path) -> None:
    (tmp_path / "keyfuse.d" / "keyfuse.yaml").write_text(f"store: {{dsn: '{dsn}'}}\n")
    assert "whose key that is, --public-key would tell" in run("audit", "verify")[1]
    code, said = run("forensics", INCIDENT, "--out", "inc.zip")
    assert (code, "not signed: no key" in said) == (0, True)
    assert run("forensics", "verify", "inc.zip") == (0, "inc.zip: intact: 17 members; not signed\n")
    code, said = run("forensics", "verify", "inc.zip", "--public-key", SIGNER.public_key)
    assert (code, "it is signed by nobody" in said, "NOT PROVEN" in said) == (1, True, True)


def test_a_head_of_a_key_that_nobody_named_is_told_and_a_former_key_is_known(run: Run, tmp_path: Path) -> None:
    other = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "audit.pem").write_bytes(pem)
    code, said = run("audit", "verify")
    assert (code, f"is signed by {SIGNER.public_key}, not by" in said) == (1, True)
    wiring = tmp_path / "keyfuse.d" / "keyfuse.yaml"
    former = f"evidence: {{former_public_keys: [{SIGNER.public_key}], "
    wiring.write_text(wiring.read_text().replace("evidence: {", former))
    assert run("audit", "verify") == (0, "intact: 3 rows in 1 chains, 1 heads; 1 signed\n")
    code, said = run("audit", "verify", "--public-key", other.public_key().public_bytes_raw().hex())
    assert (code, "no head is signed by" in said) == (1, True)


def test_forensics_writes_and_verifies(run: Run, tmp_path: Path) -> None:
    code, said = run("forensics", INCIDENT, "--out", "inc.zip")
    assert (code, f"signed by {SIGNER.public_key}" in said, "6 events of fp1:a" in said) == (0, True, True)
    assert run("forensics", "verify", "inc.zip")[0] == 0
    assert (tmp_path / "inc.zip").stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(tmp_path / "inc.zip") as archive:
        manifest = json.loads(archive.read(MANIFEST))
    assert manifest["counts"] == {"events": 6, "findings": 3, "audit_rows": 2, "commands": 1, "outcomes": 2, "holds": 1}
    assert [note for note in manifest["notes"] if "is learned of the key now is not in here: nothing runs" in note]
    packed_ = (tmp_path / "inc.zip").read_bytes()
    for name in sorted(manifest["members"]):
        for content, words in ((b"nothing", f"{name} was changed"), (None, f"{name} is missing")):
            (tmp_path / "inc.zip").write_bytes(again(packed_, **{name: content}))
            code, said = run("forensics", "verify", "inc.zip")
            assert (code, words in said) == (1, True)


def test_the_post_mortem_goes_to_the_terminal_or_to_a_new_file(run: Run, tmp_path: Path) -> None:
    assert run("postmortem", INCIDENT)[1].startswith("# Post-mortem of inc")
    assert run("postmortem", INCIDENT, "--out", "pm.md")[0] == 0
    assert (tmp_path / "pm.md").read_text() == run("postmortem", INCIDENT)[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["audit", "look"], "look: expected verify, export or heads"),
        (["audit", "export"], "where to? `keyfuse audit export FILE`"),
        (["audit", "verify", "none.ndjson"], "none.ndjson: No such file"),
        (["audit", "verify", "audit.pem"], "audit.pem, line 1: neither a row of the audit nor a head"),
        (["audit", "verify", "--from", "soon"], "--from soon"),
        (["audit", "verify", "--public-key", "me"], "--public-key me: neither a PEM file"),
        (["audit", "export", "no/such/file"], "--out no/such/file: no folder no/such"),
        (["forensics", INCIDENT], "where to? `keyfuse forensics inc_1 --out FILE.zip`"),
        (["forensics", INCIDENT, "x.zip"], "where to? `keyfuse forensics inc_1 --out x.zip`"),
        (["forensics", "inc_none", "--out", "x.zip"], "no incident inc_none; `keyfuse incidents` shows their ids"),
        (["forensics", "verify"], "which archive?"),
        (["forensics", "verify", "audit.pem"], "audit.pem: no archive of `keyfuse forensics`"),
        (["postmortem", INCIDENT, "--out", "audit.pem"], "--out audit.pem: is there already"),
    ],
)
def test_mistakes_are_one_sentence(run: Run, words: list[str], sentence: str) -> None:
    code, said = run(*words)
    assert (code, sentence in said) == (2, True), said


def test_a_key_that_is_none_is_said_so_without_quoting_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "audit.pem").write_text("hunter2-hunter2")
    code, said = run("audit", "verify")
    assert (code, "signing key: no private key in PEM form" in said, "hunter2" in said) == (2, True, False)


async def test_a_worker_that_runs_is_asked_instead_of_the_store(
    store: Store, evidence: Evidence, tmp_path: Path
) -> None:
    """With chDB the store is the worker's alone."""
    folder = Folder(wiring=WiringConfig(data_dir=str(tmp_path)))
    install = Install(folder, tmp_path, environ={"KEYFUSE_INTAKE_TOKEN": "t"})
    app = create_app(
        routers=(), health=Health(), metrics=Metrics(), monotonic_s=lambda: 0.0, token=install.query_token(),
        answers=StoreAnswers(lambda: store),
    )  # fmt: skip
    server = LocalServer(app)
    Running("none", await server.start(), os.getpid()).write(tmp_path)
    asked = {"incident_id": INCIDENT, "before_ms": 3_600_000}
    try:
        answer = await asyncio.to_thread(answer_of, install, "evidence", asked)
        audit = await asyncio.to_thread(answer_of, install, "audit", {"whole": True})
    finally:
        await server.stop()
    assert Evidence.model_validate_json(json.dumps(answer)) == evidence
    assert AuditAnswer.model_validate(audit).rows == len(AuditAnswer.model_validate(audit).links) == 3


def test_the_manifest_says_what_it_is_of(evidence: Evidence) -> None:
    told_ = about(evidence, Live(), made_at_ms=T0, version="1.2.3")
    assert (told_["incident_id"], told_["made_at"], told_["made_by"]) == (INCIDENT, rfc3339(T0), "keyfuse 1.2.3")
