"""`keyfuse keys import` from a provider's list to a patch that git takes, and back through the check."""

from __future__ import annotations

import asyncio
import io
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import yaml
from rich.console import Console

from controls.inventory import Listed
from schemas.redact import looks_secret
from service import key_import
from service.config_folder import load_folder
from service.errors import UserError
from service.key_import import Said, with_entries
from service.yaml_patch import patch
from tests.containment.servers import inventories
from tests.containment.servers.inventories import SECRET
from tests.containment.servers.serve import serving

A, B = "a" * 32, "b" * 32
KEYS = f"""# ours
keys:
  - key_id: fp1:{A}
    provider: openai
    provider_ref: proj_a/key_1
    team: search   # the ranking people

  # the next one is old
  - key_id: fp1:{B}
    provider: openai
    provider_ref: proj_a/key_gone

revalidation:
  enabled: false
"""
NEW = Listed("proj_a/key_2", "key_2", "checkout: prod", "Shop", "ann@example.com", True, 1_711_471_533_000, hint="wxyz")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """OpenAI's list of keys, served in a thread of its own: the command runs a loop of its own."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), [""]
    stop = asyncio.Event()

    async def serve() -> None:
        async with serving(inventories.openai({"proj_a": ["key_1", "key_2", "key_off"]})) as address:
            found[0] = address
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait(10)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


@pytest.fixture
def folder(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADMIN", SECRET)
    wiring = f"data_dir: {tmp_path}\nproviders:\n  openai: {{kind: openai, secret_env: ADMIN, base_url: '{url}/v1'}}\n"
    (tmp_path / "keyfuse.yaml").write_text(wiring)
    (tmp_path / "keys.yaml").write_text(KEYS)
    return tmp_path


def said_of(folder: Path, said: Said) -> str:
    told = io.StringIO()
    key_import.main(folder, said, out=Console(file=told, width=300, highlight=False, soft_wrap=True))
    return told.getvalue()


def test_it_says_what_is_new_gone_and_changed_and_changes_nothing(folder: Path) -> None:
    told = said_of(folder, Said("openai"))
    assert "openai: 0 keys as registered, 1 new, 1 gone, 1 changed; 1 more are disabled there" in told
    assert "proj_a/key_2  checkout  a production" in told
    assert f"fp1:{B} proj_a/key_gone" in told
    assert f"fp1:{A}: made on 2024-03-26, registered without that" in told
    assert "+  - key_id: key_2" in told
    assert (folder / "keys.yaml").read_text() == KEYS


def test_the_patch_applies_and_what_comes_of_it_is_valid(folder: Path) -> None:
    patch = folder / "new.patch"
    assert f"written: {patch}" in said_of(folder, Said("openai", patch))
    subprocess.run(["git", "apply", "--unsafe-paths", "-p1", str(patch)], cwd=folder, check=True)
    keys = load_folder(folder).keys.keys
    assert [key.key_id for key in keys] == [f"fp1:{A}", f"fp1:{B}", "key_2"]
    assert (keys[2].provider_ref, keys[2].env, keys[2].purpose) == ("proj_a/key_2", "prod", "checkout")
    text = (folder / "keys.yaml").read_text()
    assert "# the next one is old" in text
    assert text.endswith("enabled: false\n")
    assert "1 new" not in said_of(folder, Said("openai")), "the second time it is known"


def test_a_patch_that_cannot_be_written_and_issued_keys_that_are_not_known_are_told(folder: Path) -> None:
    assert "no issued key" in said_of(folder, Said("openai"))  # nothing runs here, so what was issued may look new
    with pytest.raises(UserError, match=r"--patch .*cannot be written"):
        said_of(folder, Said("openai", folder / "nowhere" / "new.patch"))


def test_as_json(folder: Path) -> None:
    told = orjson.loads(said_of(folder, Said("openai", as_json=True)))
    assert [key["key_id"] for key in told["new"]] == ["key_2"]
    assert (told["gone"][0]["key_id"], told["same"]) == (f"fp1:{B}", 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing yet\n",
        "revalidation: {enabled: false}\n",
        KEYS,
        "keys:\n- key_id: a\n  provider: openai\n",
        "keys:\n- {key_id: a, provider: openai}\n# the end",
        "keys:\n  - key_id: a\n    provider: openai",
    ],
)
def test_entries_go_behind_those_that_are_there_however_the_file_is_written(text: str) -> None:
    after = with_entries(text, [NEW], provider="openai")
    assert "ends in wxyz" in after
    changes = patch("keys.yaml", text, after).splitlines()[2:]
    taken, given = ({line[1:] for line in changes if line.startswith(sign)} for sign in "-+")
    assert taken <= given, "nothing is taken away; a last line without an end is written again with it"
    entries = yaml.safe_load(after)["keys"]
    assert entries[-1]["key_id"] == "key_2"
    assert entries[:-1] == ((yaml.safe_load(text) or {}).get("keys") or [])


@pytest.mark.parametrize("text", ["keys: [{key_id: a, provider: openai}]\n", "keys: {a: b}\n", "- a\n"])
def test_a_list_that_cannot_be_added_to_is_told(text: str) -> None:
    with pytest.raises(UserError, match="list each key with `- `"):
        with_entries(text, [NEW], provider="openai")


def test_a_name_that_is_a_secret_or_breaks_lines_does_no_harm() -> None:
    secret = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4zAb3dEf6hIj9k"
    bad = NEW._replace(name=f"{secret}\nteam: root", owner=f"x\n- key_id: {secret}")
    after = with_entries("", [bad], provider="openai")
    assert secret not in after
    assert not looks_secret(after)
    assert after.count("key_id:") == 2, "its own, and what was one line of a comment"


@pytest.mark.parametrize(
    ("source", "words"),
    [("moon", "no provider of that name or kind; those of keyfuse.yaml are openai"), ("anthropic", "no provider")],
)
def test_a_provider_that_is_not_there_is_named(folder: Path, source: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        said_of(folder, Said(source))


def test_a_list_that_cannot_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN", "wrong")
    with pytest.raises(UserError, match=r"the list of keys could not be read: list the projects: .*admin key is wrong"):
        said_of(folder, Said("openai"))
