"""What is registered as a backup, and what the person who is about to cut reads of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from containment.sandbox_server import NewKey, create_sandbox
from schemas.records import Incident, StepState
from service.backups import backup_of, look_at_backup, users_of, users_words
from service.install import Install
from service.plan_command import backup_words
from tests.containment.build import done, incident
from tests.containment.servers.serve import Faulty, serving
from tests.service.test_config_folder import folder

KEYS = """keys:
- key_id: a1
  provider: anthropic
  provider_ref: apikey_1
  backup: a2
  switch: [{at: kv, secret: shop/a, standby: shop/b}]
- {key_id: a2, provider: anthropic, provider_ref: apikey_2}
- {key_id: o1, provider: openai, provider_ref: proj_a/key_1, backup: o2}
- {key_id: o2, provider: openai, provider_ref: proj_a/key_2}
- {key_id: o3, provider: openai, provider_ref: proj_b/key_3, backup: a2}
- {key_id: s1, provider: sandbox, backup: s2}
- {key_id: s2, provider: sandbox}
"""
WIRING = """providers:
  anthropic: {kind: anthropic, secret_env: NOT_ON_THIS_MACHINE}
  openai: {kind: openai, secret_env: NOT_ON_THIS_MACHINE}
  sandbox: {kind: sandbox, base_url: 'URL', secret_env: SANDBOX_ADMIN}
switches:
  kv: {kind: vault, base_url: 'https://vault', secret_env: NOT_ON_THIS_MACHINE}
"""


def install(path: Path, url: str = "http://127.0.0.1:9") -> Install:
    found = Install.open(folder(path, keys=KEYS, keyfuse=WIRING.replace("URL", url)))
    found.environ = {"SANDBOX_ADMIN": "admin"}
    return found


def look(one: Install, key_id: str, *known: Incident) -> str:
    found = look_at_backup(one, key_id, {each.key_id: each for each in known}, timeout_s=2)
    return backup_words(found)


def test_a_key_without_a_backup_stops_and_it_is_said(tmp_path: Path) -> None:
    one = install(tmp_path)
    assert backup_of(one, "a2") is None
    assert look(one, "a2") == "none is registered: the key's users stop when it is cut"
    assert users_words(one, "a2", "disable") == "NO BACKUP, its users stop"


def test_a_backup_with_its_places_and_nobody_here_who_could_look(tmp_path: Path) -> None:
    one = install(tmp_path)
    assert look(one, "a1") == (
        "a2 (active or not: not known here); before a cut users are told at kv (shop/a), the gates"
    )
    assert users_words(one, "a1", "disable") == "its backup a2 is switched to first"
    assert users_of(one, "a2") == ("a1", "o3")


def test_a_step_that_stops_the_backup_too_is_said(tmp_path: Path) -> None:
    one = install(tmp_path)
    found = backup_of(one, "o1")
    assert found is not None
    assert found.stopped_by == {"throttle", "block"}
    assert look(one, "o1").endswith("told at the gates; not for block, which stops it too")
    assert users_words(one, "o1", "block") == "its backup o2 STOPS WITH IT"
    assert users_words(one, "o1", "revoke") == "its backup o2 is switched to first"


def test_a_backup_at_another_provider_is_never_stopped_with_the_key(tmp_path: Path) -> None:
    found = backup_of(install(tmp_path), "o3")
    assert found is not None
    assert found.stopped_by == frozenset()


@pytest.mark.parametrize(
    ("its", "words"),
    [
        (incident(key_id="a2"), "would not be used now: the backup a2 has an open incident itself"),
        (incident(done("disable", StepState.CONFIRMED), key_id="a2", state="resolved"), "the backup a2 is cut itself"),
    ],
)
def test_a_backup_in_trouble_is_said_not_to_be_used(its: Incident, words: str, tmp_path: Path) -> None:
    assert words in look(install(tmp_path), "a1", its)


@pytest.mark.parametrize(
    ("status", "words"), [("active", "s2 (active)"), ("disabled", "s2 (inactive: it is activated first)")]
)
async def test_whether_it_is_active_is_asked_where_the_admin_key_is(status: str, words: str, tmp_path: Path) -> None:
    app = create_sandbox(SecretStr("admin"))
    app.state.sandbox.register(NewKey(key_id="s2"))
    app.state.sandbox.change("s2", status=status)
    async with serving(Faulty(app)) as url:
        assert (await asyncio.to_thread(look, install(tmp_path, url), "s1")).startswith(words)


def test_a_provider_that_does_not_answer_leaves_it_unknown(tmp_path: Path) -> None:
    assert look(install(tmp_path), "s1").startswith("s2 (active or not: not known here)")
