"""A large folder, read by a process of its own."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from schemas.config.keys import KeyConfig
from service.config_errors import ConfigErrors
from service.config_folder import FolderWatch, load_folder
from service.folder_reader import load_beside


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "keyfuse.d"
    folder.mkdir()
    write(folder, "[{key_id: k1, provider: openai, team: search, backup: k2}, {key_id: k2, provider: openai}]")
    (folder / "people.yaml").write_text("people:\n  ann: {role: responder}\n", encoding="utf-8")
    return folder


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """This interpreter, which notes that it was started."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\ntouch "{tmp_path}/started"\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    script.chmod(0o700)
    return script


def write(folder: Path, keys: str) -> None:
    (folder / "keys.yaml").write_text(f"keys: {keys}\n", encoding="utf-8")


def test_what_another_process_read_is_what_this_one_would_have_read(config: Path, python: Path) -> None:
    assert load_beside(config, large_bytes=0, python=str(python)) == load_folder(config)
    assert (python.parent / "started").exists()


def test_a_small_folder_is_not_worth_a_process(config: Path, python: Path) -> None:
    assert load_beside(config, python=str(python)) == load_folder(config)
    assert not (python.parent / "started").exists()


def test_mistakes_come_back_as_they_were_found(config: Path, python: Path) -> None:
    write(config, "[{key_id: k1, provider: openai, backup: k3}, {key_id: k2}]")
    with pytest.raises(ConfigErrors) as here:
        load_folder(config)
    with pytest.raises(ConfigErrors) as there:
        load_beside(config, large_bytes=0, python=str(python))
    assert there.value.errors == here.value.errors
    assert (python.parent / "started").exists()


@pytest.mark.parametrize("broken", ["/nowhere/python", "/bin/false"])
def test_where_no_process_can_be_had_this_one_reads(config: Path, broken: str) -> None:
    with capture_logs() as logged:
        assert load_beside(config, large_bytes=0, python=broken) == load_folder(config)
    assert [entry["event"] for entry in logged] == ["no process of its own reads the folder; this one reads it"]


def test_a_folder_of_the_working_directory_is_not_taken_for_a_part_of_keyfuse(
    config: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config.parent / "service").mkdir()
    (config.parent / "service" / "__init__.py").write_text("raise SystemExit(3)", encoding="utf-8")
    monkeypatch.chdir(config.parent)
    with capture_logs() as logged:
        load_beside(config, large_bytes=0, python=str(python))
    assert logged == []


def test_a_watched_folder_is_read_again_by_it(config: Path, python: Path) -> None:
    watch = FolderWatch(config, read_again=partial(load_beside, large_bytes=0, python=str(python)))
    assert not (python.parent / "started").exists(), "at the start nobody waits"
    write(config, "[{key_id: k9, provider: openai}]")
    folder = watch.poll()
    assert watch.current is folder
    assert watch.current.keys.keys == (KeyConfig(key_id="k9", provider="openai"),)
    assert (python.parent / "started").exists()
