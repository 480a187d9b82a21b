"""What only the Google provider does."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.auth import exceptions
from google.auth.credentials import Credentials
from pydantic import SecretStr

from containment.providers.base import Effect
from containment.providers.build import build_provider
from containment.providers.errors import ProviderError, Reason, Refused, Retryable
from containment.providers.google import STEPS, GoogleProvider, steps_of
from containment.providers.google_rest import GoogleRest
from schemas.config.wiring import ProviderConfig
from schemas.records import Step
from tests.containment.servers import google
from tests.containment.servers.google import ACCOUNT_KEY, API_KEY
from tests.containment.servers.serve import Faulty, Misbehave, body, serving

TOKEN = "ya29.plainly-secret-0123456789"


@dataclass
class Stage:
    project: google.Project
    faulty: Faulty
    tokens: Faulty
    provider: GoogleProvider
    url: str
    key_file: SecretStr
    pauses_s: list[float] = field(default_factory=list)

    def changes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.faulty.requests if method != "GET"]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    pauses_s: list[float] = []

    async def sleep(pause_s: float) -> None:
        pauses_s.append(pause_s)

    project = google.Project(TOKEN)
    faulty, tokens = Faulty(google.create(project)), Faulty(google.create_tokens("keyfuse", TOKEN))
    async with serving(faulty) as url, serving(tokens) as token_url:
        key_file = SecretStr(google.key_file("keyfuse", token_url))
        provider = GoogleProvider("google", key_file, base_url=url, sleep=sleep)
        yield Stage(project, faulty, tokens, provider, url, key_file, pauses_s)
        await provider.close()


class TestReferences:
    @pytest.mark.parametrize(
        ("ref", "steps"),
        [
            (API_KEY, {"block": True, "revoke": True}),
            ("projects/example.com:shop/locations/global/keys/K_1-a", {"block": True, "revoke": True}),
            (ACCOUNT_KEY, {"disable": True, "revoke": False}),
            ("projects/shop/serviceAccounts/1234567890/keys/f00d", {"disable": True, "revoke": False}),
        ],
    )
    def test_each_form_has_its_own_steps_and_its_own_way_back(self, ref: str, steps: dict[str, bool]) -> None:
        assert {step: spec.reversible for step, spec in steps_of(ref).items()} == steps

    def test_who_sees_only_the_kind_takes_a_revoke_for_final(self) -> None:
        assert {step: spec.reversible for step, spec in STEPS.items()} == {
            "block": True,
            "disable": True,
            "revoke": False,
        }

    @pytest.mark.parametrize(
        "ref",
        [
            "", "b7ff1f9f", "AIzaSyA1234567890abcdefg", "projects/shop", "projects/shop/locations/europe/keys/k",
            "projects/shop/locations/global/keys/", "projects/shop/locations/global/keys/k/x", f"/{API_KEY}",
            f"{API_KEY}:undelete", f"{API_KEY}?x=y", "projects/../locations/global/keys/k#",
            "projects/shop/serviceAccounts/a b/keys/k", "projects/shop/serviceAccounts/a@b/keys", f"{ACCOUNT_KEY}\n",
        ],
    )  # fmt: skip
    async def test_another_form_is_refused_without_a_call(self, stage: Stage, ref: str) -> None:
        assert steps_of(ref) == {}
        for call in (
            stage.provider.snapshot(ref),
            stage.provider.apply("revoke", ref),
            stage.provider.in_effect("block", ref),
            stage.provider.undo("disable", ref, {}),
        ):
            with pytest.raises(Refused) as caught:
                await call
            assert caught.value.reason is Reason.BAD_REF
        assert stage.faulty.requests == stage.tokens.requests == []

    @pytest.mark.parametrize(("ref", "step"), [(API_KEY, "disable"), (ACCOUNT_KEY, "block")])
    async def test_a_step_of_the_other_sort_is_refused_without_a_call(self, stage: Stage, ref: str, step: Step) -> None:
        with pytest.raises(Refused) as caught:
            await stage.provider.apply(step, ref)
        assert caught.value.reason is Reason.NOT_SUPPORTED
        assert stage.faulty.requests == []


class TestBlock:
    async def test_it_leaves_out_the_models_and_keeps_all_other_restrictions(self, stage: Stage) -> None:
        await stage.provider.apply("block", API_KEY)
        assert stage.project.restrictions == {
            "apiTargets": [{"service": "translate.googleapis.com", "methods": ["Get*"]}],
            "serverKeyRestrictions": {"allowedIps": ["192.0.2.7"]},
        }

    @pytest.mark.parametrize(
        "restrictions",
        [
            None,
            {"browserKeyRestrictions": {"allowedReferrers": ["example.com"]}},
            {"apiTargets": [{"service": "generativelanguage.googleapis.com", "methods": ["GenerateContent"]}]},
            {"apiTargets": [{"service": "aiplatform.googleapis.com"}]},
        ],
    )
    async def test_a_key_that_keeps_no_service_is_not_left_open_to_all(
        self, stage: Stage, restrictions: dict[str, object] | None
    ) -> None:
        stage.project.restrictions = restrictions
        before = await stage.provider.snapshot(API_KEY)
        assert (await stage.provider.in_effect("block", API_KEY)).state == "no"
        await stage.provider.apply("block", API_KEY)
        assert stage.project.restrictions is not None
        assert stage.project.restrictions["apiTargets"] == [{"service": "apikeys.googleapis.com"}]
        assert (await stage.provider.in_effect("block", API_KEY)).state == "yes"
        await stage.provider.undo("block", API_KEY, before)
        assert stage.project.restrictions == restrictions

    async def test_a_service_in_capitals_is_the_same_service(self, stage: Stage) -> None:
        stage.project.restrictions = {"apiTargets": [{"service": "GenerativeLanguage.googleapis.com"}]}
        assert (await stage.provider.in_effect("block", API_KEY)).state == "no"
        await stage.provider.apply("block", API_KEY)
        assert (await stage.provider.in_effect("block", API_KEY)).state == "yes"

    async def test_an_unrestricted_key_is_said_to_be_for_all(self, stage: Stage) -> None:
        stage.project.restrictions = None
        assert await stage.provider.in_effect("block", API_KEY) == Effect("no", "the key is for all services")


class TestDeletedKey:
    async def test_it_is_cut_whatever_step_is_asked_and_is_not_touched_again(self, stage: Stage) -> None:
        stage.project.deleted = True
        steps: tuple[Step, ...] = ("block", "revoke")
        for step in steps:
            assert (await stage.provider.in_effect(step, API_KEY)).state == "yes"
            assert await stage.provider.apply(step, API_KEY) == "already deleted"
        assert stage.changes() == []

    async def test_both_steps_are_undone_newest_first(self, stage: Stage) -> None:
        at_first = await stage.provider.snapshot(API_KEY)
        await stage.provider.apply("block", API_KEY)
        blocked = await stage.provider.snapshot(API_KEY)
        await stage.provider.apply("revoke", API_KEY)
        with pytest.raises(Refused, match="undelete it first"):
            await stage.provider.undo("block", API_KEY, at_first)
        await stage.provider.undo("revoke", API_KEY, blocked)
        assert await stage.provider.snapshot(API_KEY) == blocked
        await stage.provider.undo("block", API_KEY, at_first)
        assert await stage.provider.snapshot(API_KEY) == at_first

    async def test_one_that_was_deleted_before_us_stays_so(self, stage: Stage) -> None:
        stage.project.deleted = True
        before = await stage.provider.snapshot(API_KEY)
        assert await stage.provider.undo("revoke", API_KEY, before) == "left as it was before"
        assert stage.project.deleted


class TestOperations:
    async def test_one_that_is_done_at_once_is_not_looked_at(self, stage: Stage) -> None:
        stage.project.looks = 0
        assert await stage.provider.apply("revoke", API_KEY) == "done"
        assert stage.pauses_s == []

    async def test_it_is_looked_at_until_it_is_done(self, stage: Stage) -> None:
        stage.project.looks = 3
        assert await stage.provider.apply("revoke", API_KEY) == "done"
        assert stage.pauses_s == [0.2, 0.4, 0.8]

    async def test_one_that_takes_long_is_left_to_reading_back(self, stage: Stage) -> None:
        stage.project.looks = 1000
        said = await stage.provider.apply("revoke", API_KEY)
        assert said.startswith("asked for; operations/")
        assert said.endswith("still goes on")
        assert sum(stage.pauses_s) == pytest.approx(3.0)
        assert stage.changes() == [("DELETE", f"/v2/{API_KEY}")]

    @pytest.mark.parametrize(
        ("code", "reason"),
        [(7, Reason.FORBIDDEN), (8, Reason.RATE_LIMITED), (9, Reason.REJECTED), (13, Reason.UNAVAILABLE)],
    )
    async def test_one_that_fails_is_told_as_what_it_means(self, stage: Stage, code: int, reason: Reason) -> None:
        stage.project.failure = {"code": code, "message": "no, AIzaSyA1234567890abcdefg"}
        with pytest.raises(ProviderError, match="no,") as caught:
            await stage.provider.apply("revoke", API_KEY)
        assert caught.value.reason is reason
        assert "AIza" not in str(caught.value)

    @pytest.mark.parametrize("name", ["operations/../keys", "https://example.com/", "operations/a/b", "", 7, None])
    async def test_a_name_of_another_form_is_not_followed(self, stage: Stage, name: object) -> None:
        stage.faulty.faults.append(Misbehave(200, body({"name": name}), changes_only=True))
        with pytest.raises(Retryable) as caught:
            await stage.provider.apply("revoke", API_KEY)
        assert caught.value.reason is Reason.NONSENSE
        assert [method for method, _ in stage.faulty.requests] == ["GET", "DELETE"]


class TestAccountKeys:
    async def test_not_found_is_no_proof_that_a_key_is_gone(self, stage: Stage) -> None:
        stage.faulty.faults.append(Misbehave(404, b"<html>Not Found</html>"))
        with pytest.raises(ProviderError):
            await stage.provider.in_effect("revoke", ACCOUNT_KEY)

    @pytest.mark.parametrize("listed", [{}, {"keys": []}, {"keys": "?"}, {"keys": [7]}])
    async def test_a_list_without_googles_own_keys_is_no_list(self, stage: Stage, listed: object) -> None:
        stage.faulty.faults.append(Misbehave(200, body(listed)))
        with pytest.raises(Retryable) as caught:
            await stage.provider.in_effect("revoke", ACCOUNT_KEY)
        assert caught.value.reason is Reason.NONSENSE

    async def test_one_that_is_gone_cannot_be_disabled_any_more(self, stage: Stage) -> None:
        await stage.provider.apply("revoke", ACCOUNT_KEY)
        assert "already gone" in await stage.provider.apply("revoke", ACCOUNT_KEY)
        with pytest.raises(Refused) as caught:
            await stage.provider.apply("disable", ACCOUNT_KEY)
        assert caught.value.reason is Reason.UNKNOWN_KEY


untyped: Any = exceptions


class Tokens(Credentials):
    """An identity that fails on order."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # it has no types
        self.failure = failure

    def refresh(self, request: object) -> None:
        if self.failure:
            raise self.failure
        self.token = TOKEN


class TestIdentity:
    async def test_one_token_serves_many_calls(self, stage: Stage) -> None:
        await stage.provider.snapshot(API_KEY)
        await stage.provider.snapshot(ACCOUNT_KEY)
        assert stage.tokens.requests == [("POST", "/token")]

    async def test_the_token_goes_to_nobody_that_a_redirect_points_at(self, stage: Stage) -> None:
        stage.faulty.faults.append(Misbehave(302, b"", {"location": "http://127.0.0.1:9/"}))
        with pytest.raises(Refused):
            await stage.provider.snapshot(API_KEY)
        assert len(stage.faulty.requests) == 1

    @pytest.mark.parametrize(
        ("failure", "reason"),
        [
            (untyped.RefreshError("unavailable", retryable=True), Reason.UNAVAILABLE),
            (untyped.RefreshError("invalid_grant", retryable=False), Reason.BAD_CREDENTIALS),
            (untyped.TransportError("no route"), Reason.NETWORK),
            (untyped.DefaultCredentialsError("none"), Reason.BAD_CREDENTIALS),
        ],
        ids=lambda value: value.value if isinstance(value, Reason) else "",
    )
    async def test_no_token_is_told_as_what_it_means(self, failure: Exception, reason: Reason) -> None:
        rest = GoogleRest(SecretStr(""), timeout_s=1)
        rest._credentials = Tokens(failure)  # what the machine would give
        with pytest.raises(ProviderError) as caught:
            await rest.call("GET", "http://127.0.0.1:9/", "read k1")
        await rest.close()
        assert caught.value.reason is reason

    @pytest.mark.parametrize("secret", ["hush", "[]", '{"type": "service_account"}', '{"private_key": "hush"}', "7"])
    def test_a_secret_of_another_form_is_refused_and_not_repeated(self, secret: str) -> None:
        with pytest.raises(ValueError, match="key file") as caught:
            GoogleProvider("google", SecretStr(secret))
        assert "hush" not in str(caught.value)

    async def test_without_a_secret_it_acts_as_the_machine(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        found = tmp_path / "key.json"
        found.write_text(stage.key_file.get_secret_value())
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(found))
        provider = build_provider("mine", ProviderConfig(kind="google", base_url=stage.url), None)
        assert (await provider.snapshot(ACCOUNT_KEY)) == {"status": "active"}
        await provider.close()

    @pytest.mark.parametrize("named", ["nothing", "folder", "other.json"])
    async def test_a_machine_without_an_identity_says_so(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str
    ) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "other.json").write_text('{"hello": "world"}')
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / named))
        provider = GoogleProvider("google", SecretStr(""), base_url=stage.url)
        with pytest.raises(Refused, match="no Google identity") as caught:
            await provider.snapshot(API_KEY)
        await provider.close()
        assert caught.value.reason is Reason.BAD_CREDENTIALS


class TestWithoutGoogleAuth:
    def test_the_steps_are_told_without_loading_it(self) -> None:
        program = "import sys, containment.providers.google as g; print(list(g.STEPS), 'google.auth' in sys.modules)"
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
        assert shown.stdout == "['block', 'disable', 'revoke'] False\n"

    def test_building_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "google.auth", None)
        monkeypatch.delitem(sys.modules, "containment.providers.google_rest", raising=False)
        with pytest.raises(ValueError, match=r"providers\.mine: .*pip install keyfuse\[google\]"):
            build_provider("mine", ProviderConfig(kind="google"), None)


# As the reference of API Keys and of IAM names the permission for each method.
PERMISSIONS = {
    ("GET", "/v2/projects"): "apikeys.keys.get",
    ("PATCH", "/v2/projects"): "apikeys.keys.update",
    ("DELETE", "/v2/projects"): "apikeys.keys.delete",
    ("POST", "undelete"): "apikeys.keys.undelete",
    ("GET", "/v2/operations"): "serviceusage.operations.get",
    ("GET", "/v1/projects"): "iam.serviceAccountKeys.get",
    ("GET", "keys"): "iam.serviceAccountKeys.list",
    ("POST", "disable"): "iam.serviceAccountKeys.disable",
    ("POST", "enable"): "iam.serviceAccountKeys.enable",
    ("DELETE", "/v1/projects"): "iam.serviceAccountKeys.delete",
}


async def test_the_role_on_the_page_allows_what_is_asked_and_nothing_else(stage: Stage) -> None:
    for ref in (API_KEY, ACCOUNT_KEY):
        before = await stage.provider.snapshot(ref)
        for step, spec in steps_of(ref).items():
            await stage.provider.apply(step, ref)
            assert (await stage.provider.in_effect(step, ref)).state == "yes"
            if spec.reversible:
                await stage.provider.undo(step, ref, before)
    asked = set()
    for method, path in stage.faulty.requests:
        verb = "keys" if path.endswith("/keys") else path.partition(":")[2]
        asked.add(PERMISSIONS[method, verb or "/".join(path.split("/")[:3])])
    page = (Path(__file__).parents[2] / "docs/providers/google.md").read_text()
    assert re.findall(r"^  - (\S+)$", page, re.MULTILINE) == list(PERMISSIONS.values())
    assert asked == set(PERMISSIONS.values())
