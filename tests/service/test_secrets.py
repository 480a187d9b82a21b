"""Secrets come from where the configuration says, or the error says what to do, without the secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.secrets import SecretMissing, create_pepper, load_pepper, resolve


def secret_file(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_nothing_named_is_nothing() -> None:
    assert resolve("", "", environ={}, what="channel") is None


def test_the_variable_wins_over_the_file(tmp_path: Path) -> None:
    file = secret_file(tmp_path / "s", b"from file\n")
    both = resolve("TOKEN", file, environ={"TOKEN": " from variable\n"}, what="channel")
    only_file = resolve("TOKEN", file, environ={}, what="channel")
    assert both is not None
    assert only_file is not None
    assert (both.get_secret_value(), only_file.get_secret_value()) == ("from variable", "from file")


def test_secrets_do_not_print() -> None:
    assert "hush" not in repr(resolve("TOKEN", "", environ={"TOKEN": "hush"}, what="channel"))


@pytest.mark.parametrize(
    ("env", "environ", "message"),
    [
        ("TOKEN", {}, "channel oncall: the environment variable TOKEN is not set"),
        ("TOKEN", {"TOKEN": "  "}, "channel oncall: the environment variable TOKEN is empty"),
        ("xoxb-1234567890-abcdef", {}, "channel oncall: the environment variable xoxb…[redacted] is not set"),
    ],
)
def test_a_missing_variable_is_named(env: str, environ: dict[str, str], message: str) -> None:
    with pytest.raises(SecretMissing) as error:
        resolve(env, "", environ=environ, what="channel oncall")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"hush", 0o604, "is open to everybody (mode 0604); `chmod o-rwx"),
        (b"hush", 0o646, "is open to everybody (mode 0646)"),
        (b"\n", 0o600, "is empty"),
        (b"\xff\xfehush", 0o600, "is not a text file"),
    ],
)
def test_a_bad_file_is_refused(content: bytes, mode: int, message: str, tmp_path: Path) -> None:
    file = secret_file(tmp_path / "s", content, mode)
    with pytest.raises(SecretMissing, match="provider openai") as error:
        resolve("", file, environ={}, what="provider openai")
    assert message in str(error.value)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(("name", "why"), [("absent", "No such file"), (".", "Is a directory")])
def test_an_unreadable_file_is_told(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match=why):
        resolve("", str(tmp_path / name), environ={}, what="store")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else_is_told(tmp_path: Path) -> None:
    file = secret_file(tmp_path / "s", b"hush", 0o000)
    with pytest.raises(SecretMissing, match="Permission denied"):
        resolve("", file, environ={}, what="store")


def test_a_group_may_read(tmp_path: Path) -> None:
    """As with mounted secrets of mode 0440."""
    assert resolve("", secret_file(tmp_path / "s", b"hush", 0o440), environ={}, what="store") is not None


def test_a_pepper_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "pepper"
    assert create_pepper(path)
    first = load_pepper("PEPPER", str(path), environ={})
    assert not create_pepper(path)
    assert load_pepper("PEPPER", str(path), environ={}) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(first.get_secret_value()) == 64


def test_two_peppers_differ(tmp_path: Path) -> None:
    for name in "ab":
        create_pepper(tmp_path / name)
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


@pytest.mark.parametrize(
    ("env", "file", "message"),
    [
        ("PEPPER", "nowhere/pepper", "nowhere/pepper does not exist and PEPPER is not set; `keyfuse init` makes one"),
        ("", "nowhere/pepper", "nowhere/pepper does not exist; `keyfuse init` makes one"),
        ("PEPPER", "", "the environment variable PEPPER is not set"),
        ("", "", "name pepper_env or pepper_file"),
    ],
)
def test_no_pepper_says_how_to_get_one(env: str, file: str, message: str) -> None:
    with pytest.raises(SecretMissing) as error:
        load_pepper(env, file, environ={})
    assert message in str(error.value)
