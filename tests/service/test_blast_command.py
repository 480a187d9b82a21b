"""`keyfuse blast-radius`: what each key could cost at worst, and what to add first."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from service.blast_command import Which, blast_radius
from service.blast_look import Seen, look
from service.blast_missing import proposals
from service.errors import UserError
from service.install import Install

OPENAI, BILLING, GATED, OWN = "fp1:" + "0" * 32, "apikey_01Rj2N8SVvo6BePZj99NhmiT", "a" * 64, "gone"
KEYS = f"""keys:
- {{key_id: "{OPENAI}", provider: openai, provider_ref: proj_a/key_1, team: search, app: web, env: prod}}
- {{key_id: other, provider: openai, provider_ref: proj_a/key_2, team: ads, env: prod}}
- {{key_id: {BILLING}, provider: anthropic, provider_ref: {BILLING}, team: billing, env: prod}}
- {{key_id: "{GATED}", provider: litellm, provider_ref: "{GATED}", team: web, env: dev}}
- {{key_id: {OWN}, provider: openai, provider_ref: proj_a/key_3, env: prod, expires: 2020-01-01}}
"""
WIRING = """store: {dsn: 'clickhouse://me@127.0.0.1:1/keyfuse'}
providers:
  openai: {kind: openai, secret_env: A}
  anthropic: {kind: anthropic, secret_env: A}
  litellm: {kind: litellm, base_url: "http://127.0.0.1:1", secret_env: A}
gate: {in_front_of: [litellm]}
"""
POLICIES = """policies:
- {name: cheap, envs: [dev], allowed_models: ["gpt-4.1-mini*"], max_input_tokens: 20000, max_output_tokens: 4000,
   requests_per_min: 60}
"""
BUDGETS = "budgets: [{name: dev budget, envs: [dev], period: day, usd: 8, hard_stop: true}]\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return folder(tmp_path / "keyfuse.d")


def folder(path: Path, **changed: str) -> Path:
    files = {"keys": KEYS, "keyfuse": WIRING, "policies": POLICIES, "budgets": BUDGETS, "responses": ""} | changed
    path.mkdir()
    for name, text in files.items():
        (path / f"{name}.yaml").write_text(text)
    return path


def said(config: Path, which: Which = Which(), **options: Any) -> tuple[int, str]:  # noqa: B008 - frozen
    out = io.StringIO()
    asked = {"proposed": None, "as_json": False, "picture": None, "check": False} | options
    return blast_radius(config, which, **asked, out=Console(file=out, width=500)), out.getvalue()


def known(config: Path, which: Which = Which()) -> dict[str, dict[str, Any]]:  # noqa: B008 - frozen
    return {key["key_id"]: key for key in orjson.loads(said(config, which, as_json=True)[1])["keys"]}


def test_the_largest_comes_first_and_keys_that_ended_are_left_out(config: Path) -> None:
    code, text = said(config)
    assert code == 0
    assert [line.split()[1] for line in text.splitlines()[1:5]] == ["$16,466.10", "$16,466.10", "$14,828.85", "$8.00"]
    assert "all 4 at once: $33,969.05 in an hour, $47,769.05 in a day" in text
    assert "$14,100.00  usd_per_day of 100 USD, for 3 keys" in text


def test_a_thief_goes_around_the_gate_unless_it_is_in_the_way(config: Path) -> None:
    keys = known(config)
    assert (keys[GATED]["day_usd"], keys[GATED]["bound_by"]) == (8, "budget dev budget")
    [ceiling] = [bite for bite in keys[GATED]["bites"] if bite["name"] == "policy cheap: requests_per_min"]
    assert ceiling["usd"] == pytest.approx(60 * (20_000 * 0.4 + 4_000 * 1.6) / 1e6)
    assert not any("budget" in bite["name"] for bite in keys[OPENAI]["bites"])
    (config / "keyfuse.yaml").write_text(WIRING.replace("in_front_of: [litellm]", "in_front_of: []"))
    assert known(config)[GATED]["day_usd"] > 8


def test_who_stops_a_key_and_what_else_stops_with_it(config: Path) -> None:
    text = said(config, Which(OPENAI))[1]
    assert "block stops the whole project, so it is a person's: a person within 30 min" in text
    assert "also hits  gone, other" in text
    assert "PASSED" in text
    assert (
        "mode observe: a person within 30 min (ladder.person_answers_min), then disable"
        in said(config, Which(BILLING))[1]
    )
    (config / "responses.yaml").write_text("modes: {prod: auto}\n")
    assert "cut        by itself; disable takes" in said(config, Which(BILLING))[1]
    (config / "responses.yaml").write_text(f"modes: {{prod: auto}}\nprotected_keys: [{BILLING}]\n")
    assert "the key is protected: a person within 30 min" in said(config, Which(BILLING))[1]


def test_check_fails_for_a_key_that_passes_what_its_environment_may_lose(config: Path) -> None:
    assert said(config, Which(env="dev"), check=True)[0] == 0
    code, text = said(config, check=True)
    assert code == 1
    assert "3 of 4 keys pass the acceptable loss of their environment" in text


def test_a_proposed_change_is_shown_beside_what_is_and_judged_by_check(config: Path, tmp_path: Path) -> None:
    strict = "environments: {prod: {usd_per_day: 20, usd_per_hour: 10, usd_per_min: 5}}\n"
    proposed = folder(tmp_path / "then", detectors=strict, responses="modes: {prod: auto}\n")
    budgets = "acceptable_loss_usd: {prod: 20000, dev: 10}\n" + BUDGETS
    (proposed / "budgets.yaml").write_text(budgets)
    code, text = said(config, proposed=proposed, check=True)
    assert code == 0
    assert "proposed day" in text
    assert "proposed   " in said(config, Which(BILLING), proposed=proposed)[1]
    both = orjson.loads(said(config, proposed=proposed, as_json=True)[1])
    assert both["proposed"]["day_usd"] < both["day_usd"]


def test_the_picture_is_a_png(config: Path, tmp_path: Path) -> None:
    said(config, picture=tmp_path / "radius.png")
    assert (tmp_path / "radius.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("which", "words"), [(Which("nobody"), "nobody is in no registry"), (Which(team="x", env="y"), "team x and env y")]
)
def test_nobody_to_reckon_with_is_a_clear_error(config: Path, which: Which, words: str) -> None:
    with pytest.raises(UserError, match=words):
        said(config, which)


def test_a_proposed_limit_leaves_room_for_what_the_key_spends(config: Path) -> None:

    install = Install.open(config)
    entry = install.registry.entry(BILLING)
    assert entry is not None
    seen = Seen(month_usd={BILLING: 6000.0})
    looked = look(install, entry, seen=seen, at_ms=0, closely=False)
    names = [each.name for each in proposals(looked, seen, person_s=1800)]
    assert "usd_per_day of 400 USD" in names
    assert "a limit of 12000 USD a month at the provider" in names


def test_what_the_store_measured_is_stronger_than_the_providers_page(config: Path) -> None:

    (config / "responses.yaml").write_text("modes: {prod: auto}\n")
    install = Install.open(config)
    entry = install.registry.entry(BILLING)
    assert entry is not None
    cut = look(install, entry, seen=Seen(cut_s={"anthropic": 3.0}), at_ms=0, closely=False).exposure.cut
    assert cut is not None
    assert (cut.seconds, cut.words) == (3.0, "by itself; disable takes 3 s (measured here)")
