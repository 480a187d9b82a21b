"""`keyfuse governance`: one page, whatever form it is wanted in."""

from __future__ import annotations

import io
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from service.errors import UserError
from service.governance_command import governance
from tests.service.folder import FolderWith

KEYS = """keys:
- {key_id: key-1, provider: openai, team: search, app: web, env: prod, owner: ann, purpose: "<rank> answers"}
- {key_id: key-2, provider: openai, team: ads, env: dev}
"""
WIRING = "store: {dsn: 'clickhouse://me@127.0.0.1:1/keyfuse'}\n"
PEOPLE = "people: {ann: {role: admin}}\n"
BUDGETS = "budgets: [{name: search, teams: [search], usd: 10, owner: ann, escalate_to: [pager]}]\n"
ROUTES = "channels: {pager: {kind: webhook, target: 'https://example.com/hook', secret_env: A}}\n"


@pytest.fixture
def config(folder_with: FolderWith) -> Path:
    return folder_with(keys=KEYS, budgets=BUDGETS, routes=ROUTES, people=PEOPLE, keyfuse=WIRING)


def said(config: Path, *, team: str = "", to: Path | None = None, at_least: int | None = None) -> tuple[int, str]:
    out = io.StringIO()
    code = governance(config, team=team, env="", to=to, at_least=at_least, out=Console(file=out, width=400))
    return code, out.getvalue()


def test_each_line_stands_with_its_evidence_and_the_next_step_at_the_end(config: Path) -> None:
    code, text = said(config)
    assert code == 0
    assert "partly            50 %  An owner is recorded" in text
    assert "1 of 2 keys, from the registry" in text
    assert "1 budgets, 1 with an owner and an escalation path, in budgets.yaml" in text
    assert "next:" in text


def test_what_could_not_be_asked_is_said(config: Path) -> None:
    text = said(config)[1]
    assert "the broker does not answer, so exceptions and follow-ups are not in here" in text
    assert "only keys.yaml is in here" in text


@pytest.mark.parametrize("suffix", ["html", "md", "json"])
def test_the_page_has_the_form_of_its_name(config: Path, tmp_path: Path, suffix: str) -> None:
    said(config, to=tmp_path / f"page.{suffix}")
    text = (tmp_path / f"page.{suffix}").read_text()
    if suffix == "json":
        page = orjson.loads(text)
        assert 0 < page["score"] < 100
        assert {"title", "share", "evidence", "todo", "state"} <= set(page["lines"][0])
    else:
        assert text.startswith("<!doctype html>" if suffix == "html" else "# Governance of LLM API keys")
        assert "An owner is recorded" in text


def test_a_team_is_judged_by_its_own_keys(config: Path) -> None:
    assert "100 %  An owner is recorded" in said(config, team="search")[1]
    with pytest.raises(UserError, match="no registered key of team nobody"):
        said(config, team="nobody")


def test_a_ci_job_fails_below_its_score(config: Path) -> None:
    assert (said(config, at_least=1)[0], said(config, at_least=100)[0]) == (0, 1)


def test_another_ending_is_a_clear_error(config: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"end it with .html, .md or .json"):
        said(config, to=tmp_path / "page.pdf")
