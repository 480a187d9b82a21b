"""`keyfuse threat-model`: the threat model of one's own keys."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from service.errors import UserError
from service.threat_command import threat_model
from tests.service.folder import FolderWith

KEYS = """keys:
- {key_id: key-1, provider: litellm, team: search, app: web, env: prod, owner: ann, data_class: confidential}
- {key_id: key-2, provider: openai, team: search, env: prod}
- {key_id: "key|3*", provider: openai, team: ads, env: dev}
"""
WIRING = "store: {dsn: 'clickhouse://me@127.0.0.1:1/keyfuse'}\ngate: {in_front_of: [litellm]}\n"
POLICIES = "policies: [{name: p, teams: [search], allowed_models: [gpt-4.1*], max_input_tokens: 1000}]\n"


@pytest.fixture
def config(folder_with: FolderWith) -> Path:
    return folder_with(keys=KEYS, keyfuse=WIRING, policies=POLICIES)


def said(config: Path, *, team: str = "", env: str = "", to: Path | None = None) -> str:
    out = io.StringIO()
    threat_model(config, team=team, env=env, to=to, out=Console(file=out, width=1000, soft_wrap=True))
    return out.getvalue()


def section(text: str, title: str) -> str:
    return text.split(f"### {title}", 1)[1].split("###", 1)[0]


def test_keys_with_nothing_against_a_threat_are_named(config: Path) -> None:
    text = said(config, team="search")
    assert text.startswith("# Threat model: team search")
    assert "2 keys as registered" in text
    dear = section(text, "The same calls with a model thirty times as dear")
    assert "**Open:** 1 of 2 keys" in dear
    assert "`key-2`" in dear  # the policy is there, but a thief of this key goes around the gate
    assert "| `key-1` | ann | search/web in prod | confidential |" in text


def test_foreign_names_break_no_table(config: Path) -> None:
    [row] = [line for line in said(config, team="ads").splitlines() if "3*" in line and line.startswith("| `key")]
    assert row.startswith(r"| `key\|3*` | **nobody** |")


def test_it_is_written_where_it_is_asked_for(config: Path, tmp_path: Path) -> None:
    assert "wrote" in said(config, to=tmp_path / "threats.md")
    assert (tmp_path / "threats.md").read_text().startswith("# Threat model: all teams")
    with pytest.raises(UserError, match="cannot be written"):
        said(config, to=tmp_path / "no" / "threats.md")


def test_no_key_is_a_clear_error(config: Path) -> None:
    with pytest.raises(UserError, match="no registered key of team x and env y"):
        said(config, team="x", env="y")
