"""What an incident teaches, as a patch that applies and leaves the settings valid."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from service.config_folder import load_folder
from service.errors import UserError
from service.evidence_facts import Evidence
from service.follow_up_patch import Change, changes_after, patched, propose
from storage.client import open_store
from storage.migrate import migrate
from storage.testing import fresh_dsn
from tests.service.evidence import KEY, fill, told
from tests.service.folder import FolderWith
from tests.storage.frames import MINUTE_MS, T0, Use, archive_uses

OWN = "fp1:" + "0" * 32
CHANGES = [
    Change("detectors.yaml", "keys", f'"{OWN}": {{usd_per_min: 4}}\n', "why"),
    Change("policies.yaml", "policies", f'- name: "after inc_1"\n  keys: ["{OWN}"]\n  networks: [10.0.0.0/8]\n', "why"),
]
LIMIT = f'"{KEY}": {{usd_per_min: 4}}'  # twice the most that is normal


@pytest.fixture(scope="module")
def dsn() -> str:
    return fresh_dsn()


@pytest.fixture(scope="module")
def evidence(dsn: str) -> Iterator[Evidence]:
    """The stolen key, and what it was used for in the hour before."""
    store = open_store(dsn)
    migrate(store, retention_days=36_500)
    fill(store)
    uses = [
        Use(f"before{nth}", 100 + nth, ts_ms=T0 - (12 + nth) * MINUTE_MS, network=f"10.0.{nth % 2}.0/24")
        for nth in range(30)
    ]
    archive_uses(store, uses)
    yield told(store)
    store.close()


@pytest.fixture
def config(folder_with: FolderWith, evidence: Evidence, dsn: str) -> Path:
    policies = "# ours\npolicies:\n- name: cheap\n  allowed_models: [gpt*]\n"
    return folder_with(keyfuse=f"store: {{dsn: '{dsn}'}}\n", policies=policies)


def test_a_limit_and_what_the_key_was_used_with_before(evidence: Evidence) -> None:
    limit, lists = changes_after(evidence)
    assert (limit.file, limit.lines.strip()) == ("detectors.yaml", LIMIT)
    assert lists.file == "policies.yaml"
    assert 'allowed_models: ["gpt-5"]' in lists.lines
    assert 'networks: ["10.0.0.0/24","10.0.1.0/24"]' in lists.lines


def test_the_patch_applies_and_the_settings_stay_valid(config: Path) -> None:
    subprocess.run(
        ["patch", "-p1"], input=patched(config, CHANGES).encode(), cwd=config, check=True, capture_output=True
    )
    folder = load_folder(config)
    assert folder.detectors.keys[OWN].usd_per_min == 4
    assert [policy.name for policy in folder.policies.policies] == ["cheap", "after inc_1"]
    assert (config / "policies.yaml").read_text().startswith("# ours\n")


def test_a_false_alarm_teaches_no_setting(evidence: Evidence) -> None:
    newest = evidence.incident.model_copy(update={"state": "false_positive"})
    assert changes_after(evidence.model_copy(update={"versions": (newest,)})) == []


@pytest.mark.parametrize(
    ("detectors", "words"),
    [
        ("keys: {other: {usd_per_min: 1}}\n", "keys is written in one line: add there by hand"),
        (f'keys:\n  "{OWN}": {{usd_per_min: 1}}\n', "the settings would not be valid with it"),
    ],
    ids=["a section in one line", "a limit that is there already"],
)
def test_what_cannot_be_added_is_said_with_what_to_write(config: Path, detectors: str, words: str) -> None:
    (config / "detectors.yaml").write_text(detectors)
    with pytest.raises(UserError, match=words) as refused:
        patched(config, CHANGES)
    assert "usd_per_min: 4" in str(refused.value)


def test_an_unknown_incident_is_a_clear_error(config: Path) -> None:
    with pytest.raises(UserError, match="no incident inc_none is known"):
        propose(config, "inc_none", to=None, out=Console(quiet=True), err=Console(quiet=True))
