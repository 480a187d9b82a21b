"""What only the AWS provider does, on moto."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from moto.iam.access_control import IAMPolicy, PermissionResult
from pydantic import SecretStr

from containment.providers.aws import DENY, POLICY, AwsProvider, steps_of
from containment.providers.base import Effect
from containment.providers.build import build_provider
from containment.providers.errors import ProviderError, Reason, Refused, Retryable
from schemas.config.wiring import ProviderConfig
from schemas.records import Step
from tests.containment.servers import aws
from tests.containment.servers.serve import Misbehave, serving

SECRET = "plainly-secret-0123456789"


@dataclass
class Stage:
    world: aws.World
    faulty: aws.FaultyQueries
    url: str
    provider: AwsProvider

    @property
    def access_key(self) -> str:
        return f"iam/shop/{self.world.access_key}"

    @property
    def bedrock_key(self) -> str:
        return f"bedrock/shop/{self.world.bedrock_key}"


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    with aws.account(SECRET) as world:
        faulty = aws.FaultyQueries(aws.App())
        async with serving(faulty) as url:
            provider = AwsProvider("aws", SecretStr(f"{world.own_id}:{SECRET}"), base_url=url)
            yield Stage(world, faulty, url, provider)
            await provider.close()


def error(status: int, code: str, message: str = "no") -> Misbehave:
    xml = f'<ErrorResponse xmlns="{aws.NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
    xml += f"<Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    return Misbehave(status, xml.encode(), {"content-type": "text/xml"})


class TestReferences:
    @pytest.mark.parametrize(
        ("ref", "steps"),
        [
            ("iam/shop/AKIAEXAMPLEKEY234567", ["disable", "revoke"]),
            ("bedrock/BedrockAPIKey-ab12/ACCAEXAMPLEKEY234567", ["disable", "revoke"]),
            ("role/shop@eu+1", ["block"]),
            ("user/a.b,c=d", ["block"]),
        ],
    )
    def test_each_form_has_its_own_steps(self, ref: str, steps: list[str]) -> None:
        assert list(steps_of(ref)) == steps

    def test_only_the_steps_on_a_single_key_reach_no_further_than_it(self) -> None:
        assert {spec.scope for spec in steps_of("iam/shop/AKIAEXAMPLEKEY234567").values()} == {"key"}
        assert {spec.scope for spec in steps_of("role/shop").values()} == {"project"}

    @pytest.mark.parametrize(
        "ref",
        [
            "", "shop", "iam/shop", "iam/shop/", "iam//AKIAEXAMPLEKEY234567", "iam/shop/AKIA", "AKIAEXAMPLEKEY234567",
            "iam/shop/ASIAEXAMPLEKEY234567", "iam/shop/ACCAEXAMPLEKEY234567", "bedrock/shop/AKIAEXAMPLEKEY234567",
            "iam/shop/AKIAEXAMPLEKEY234567/x", "iam/sh op/AKIAEXAMPLEKEY234567", "role/", "role/a/b", "role/a\n",
            "role/" + "a" * 65, "arn:aws:iam::111122223333:role/shop", "group/shop",
        ],
    )  # fmt: skip
    async def test_another_form_is_refused_without_a_call(self, stage: Stage, ref: str) -> None:
        assert steps_of(ref) == {}
        steps: tuple[Step, ...] = ("block", "disable", "revoke")
        for step in steps:
            for call in (
                stage.provider.snapshot(ref),
                stage.provider.apply(step, ref),
                stage.provider.in_effect(step, ref),
                stage.provider.undo(step, ref, {}),
            ):
                with pytest.raises(Refused) as caught:
                    await call
                assert caught.value.reason is Reason.BAD_REF
        assert stage.faulty.requests == []

    @pytest.mark.parametrize(("ref", "step"), [("role/shop", "disable"), ("user/shop", "revoke"), ("iam", "block")])
    async def test_a_step_of_another_form_is_refused_without_a_call(self, stage: Stage, ref: str, step: Step) -> None:
        with pytest.raises(Refused) as caught:
            await stage.provider.apply(step, stage.access_key if ref == "iam" else ref)
        assert caught.value.reason is Reason.NOT_SUPPORTED
        assert stage.faulty.requests == []


class TestPermissions:
    async def test_the_policy_on_the_page_allows_what_is_asked_and_nothing_else(self, stage: Stage) -> None:
        await tour(stage)
        asked = {"iam:" + path.removeprefix("/") for _, path in stage.faulty.requests}
        granted = [action for statement in aws.documented_policy()["Statement"] for action in statement["Action"]]
        assert sorted(granted) == sorted(asked)

    async def test_a_missing_permission_says_so(self, stage: Stage) -> None:
        stage.world.iam.put_user_policy("keyfuse", "least", json.dumps(aws.documented_policy("iam:UpdateAccessKey")))
        with pytest.raises(Refused, match=r"AccessDenied.*iam:UpdateAccessKey") as caught:
            await stage.provider.apply("disable", stage.access_key)
        assert caught.value.reason is Reason.FORBIDDEN
        assert (await stage.provider.in_effect("disable", stage.access_key)).state == "no"


async def tour(stage: Stage) -> None:
    """Everything the provider ever asks."""
    for ref in ("role/shop", "user/shop", stage.access_key, stage.bedrock_key):
        before = await stage.provider.snapshot(ref)
        for step, spec in steps_of(ref).items():
            await stage.provider.apply(step, ref)
            assert (await stage.provider.in_effect(step, ref)).state == "yes"
            if spec.reversible:
                await stage.provider.undo(step, ref, before)


class TestBlock:
    @pytest.mark.parametrize("ref", ["role/shop", "user/shop"])
    async def test_what_is_put_keeps_moto_from_serving_bedrock_and_only_that(self, stage: Stage, ref: str) -> None:
        await stage.provider.apply("block", ref)
        policy = IAMPolicy(put_on(stage, ref))
        asked = ["bedrock:CallWithBearerToken", "bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"]
        asked += ["bedrock-mantle:CallWithBearerToken", "bedrock:ListFoundationModels", "s3:GetObject"]
        answers = {action: policy.is_action_permitted(action) for action in asked}
        denied = [action for action, answer in answers.items() if answer is PermissionResult.DENIED]
        assert denied == asked[:4]
        assert PermissionResult.PERMITTED not in answers.values()

    @pytest.mark.parametrize("ref", ["role/shop", "user/shop"])
    async def test_a_policy_of_that_name_from_before_is_put_back(self, stage: Stage, ref: str) -> None:
        theirs = '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"s3:*","Resource":"*"}}'
        if ref == "role/shop":
            stage.world.iam.put_role_policy("shop", POLICY, theirs)
        else:
            stage.world.iam.put_user_policy("shop", POLICY, theirs)
        before = await stage.provider.snapshot(ref)
        other = Effect("no", f"the policy {POLICY} says another thing")
        assert await stage.provider.in_effect("block", ref) == other
        await stage.provider.apply("block", ref)
        assert (await stage.provider.in_effect("block", ref)).state == "yes"
        await stage.provider.undo("block", ref, before)
        assert json.loads(put_on(stage, ref)) == json.loads(theirs)

    async def test_a_policy_that_somebody_took_away_needs_no_undoing(self, stage: Stage) -> None:
        before = await stage.provider.snapshot("role/shop")
        assert "as it was before" in await stage.provider.undo("block", "role/shop", before)

    def test_the_policy_fits_where_aws_counts_inline_policies_of_a_user(self) -> None:
        assert len(json.dumps(DENY)) < 2048


def put_on(stage: Stage, ref: str) -> str:
    if ref == "role/shop":
        document: str = stage.world.iam.get_role_policy("shop", POLICY)[1]
        return document
    found: str = stage.world.iam.get_user_policy("shop", POLICY)["policy_document"]
    return found


class TestWhatElseTheUserHolds:
    async def test_the_snapshot_names_the_users_other_keys(self, stage: Stage) -> None:
        second = stage.world.iam.create_access_key("shop", status="Inactive").access_key_id
        also = (await stage.provider.snapshot(stage.bedrock_key))["also"]
        assert f"{stage.world.access_key} (active)" in also
        assert f"{second} (inactive)" in also
        assert stage.world.bedrock_key not in also

    async def test_a_user_that_the_console_left_behind_is_called_so(self, stage: Stage) -> None:
        stage.world.iam.create_user("us-east-1", "BedrockAPIKey-ab12")
        stage.world.bedrock.of["BedrockAPIKey-ab12"] = {"ACCAEXAMPLEKEY999999": "Active"}
        quiet = await stage.provider.snapshot("bedrock/BedrockAPIKey-ab12/ACCAEXAMPLEKEY999999")
        backdoor = stage.world.iam.create_access_key("BedrockAPIKey-ab12").access_key_id
        found = await stage.provider.snapshot("bedrock/BedrockAPIKey-ab12/ACCAEXAMPLEKEY999999")
        assert quiet["also"].startswith("the console made this user")
        assert quiet["also"].endswith("holds no other key")
        assert found["also"].endswith(f"holds {backdoor} (active)")

    async def test_a_cut_does_not_wait_for_it(self, stage: Stage) -> None:
        lacking = aws.documented_policy("iam:ListServiceSpecificCredentials")
        stage.world.iam.put_user_policy("keyfuse", "least", json.dumps(lacking))
        before = await stage.provider.snapshot(stage.access_key)
        assert before["status"] == "Active"
        assert before["also"].startswith("not known: list the Bedrock keys of shop")


class TestStatus:
    async def test_an_expired_key_is_cut_already_and_cannot_be_put_back(self, stage: Stage) -> None:
        stage.world.bedrock.of["shop"][stage.world.bedrock_key] = "Expired"
        assert await stage.provider.apply("disable", stage.bedrock_key) == "already expired"
        assert (await stage.provider.in_effect("disable", stage.bedrock_key)).state == "yes"
        assert (await stage.provider.in_effect("revoke", stage.bedrock_key)).state == "no"
        with pytest.raises(Refused) as caught:
            await stage.provider.undo("disable", stage.bedrock_key, {"status": "Active"})
        assert caught.value.reason is Reason.FINAL

    async def test_a_key_that_is_gone_is_revoked_but_not_disabled(self, stage: Stage) -> None:
        await stage.provider.apply("revoke", stage.access_key)
        assert await stage.provider.apply("revoke", stage.access_key) == "already gone: AWS does not know this key"
        assert (await stage.provider.in_effect("revoke", stage.access_key)).state == "yes"
        with pytest.raises(Refused, match="no such key"):
            await stage.provider.in_effect("disable", stage.access_key)

    async def test_not_found_by_a_proxy_is_no_key_that_is_gone(self, stage: Stage) -> None:
        page = b"<html><body>Not Found</body></html>"
        for fault in (Misbehave(404, page), error(404, "NotFound"), Misbehave(404, b"")):
            stage.faulty.faults.append(fault)
            with pytest.raises(ProviderError):
                await stage.provider.in_effect("revoke", stage.access_key)
            stage.faulty.faults.append(fault)
            with pytest.raises(ProviderError):
                await stage.provider.in_effect("block", "role/shop")

    async def test_half_a_list_is_no_list(self, stage: Stage) -> None:
        xml = f'<ListAccessKeysResponse xmlns="{aws.NAMESPACE}"><ListAccessKeysResult><AccessKeyMetadata/>'
        xml += "<IsTruncated>true</IsTruncated></ListAccessKeysResult></ListAccessKeysResponse>"
        stage.faulty.faults.append(Misbehave(200, xml.encode(), {"content-type": "text/xml"}))
        with pytest.raises(Retryable) as caught:
            await stage.provider.in_effect("revoke", stage.access_key)
        assert caught.value.reason is Reason.NONSENSE


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (error(400, "Throttling", "Rate exceeded"), Reason.RATE_LIMITED),
        (error(403, "InvalidClientTokenId"), Reason.BAD_CREDENTIALS),
        (error(403, "ExpiredToken"), Reason.BAD_CREDENTIALS),
        (error(403, "AccessDenied"), Reason.FORBIDDEN),
        (error(404, "NoSuchEntity"), Reason.UNKNOWN_KEY),
        (error(404, "ServiceNotSupported"), Reason.REJECTED),
        (error(409, "EntityTemporarilyUnmodifiable"), Reason.UNAVAILABLE),
        (error(409, "LimitExceeded"), Reason.REJECTED),
        (error(400, "UnmodifiableEntity"), Reason.REJECTED),
        (error(500, "ServiceFailure"), Reason.UNAVAILABLE),
        (Misbehave(503, b"<html>try later</html>"), Reason.UNAVAILABLE),
        (Misbehave(302, b"", {"location": "http://127.0.0.1:9/"}), Reason.REJECTED),
    ],
    ids=lambda value: value.value if isinstance(value, Reason) else "",
)
async def test_each_error_of_iam_is_told_as_what_it_means(stage: Stage, fault: Misbehave, reason: Reason) -> None:
    stage.faulty.faults.append(fault)
    with pytest.raises(ProviderError) as caught:
        await stage.provider.snapshot(stage.access_key)
    assert caught.value.reason is reason
    assert len(stage.faulty.requests) == 1


class TestIdentity:
    async def test_without_a_secret_it_acts_as_the_machine(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", stage.world.own_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        provider = build_provider("mine", ProviderConfig(kind="aws", base_url=stage.url), None)
        assert (await provider.snapshot(stage.access_key))["status"] == "Active"
        await provider.close()

    async def test_a_machine_without_an_identity_says_so(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        provider = AwsProvider("aws", SecretStr(""), base_url=stage.url)
        with pytest.raises(Refused, match="no AWS credentials") as caught:
            await provider.snapshot(stage.access_key)
        await provider.close()
        assert caught.value.reason is Reason.BAD_CREDENTIALS
        assert stage.faulty.requests == []

    @pytest.mark.parametrize("secret", ["hush-hush", "AKIAEXAMPLEKEY234567:", "AKIA EXAMPLE:hush-hush"])
    def test_a_secret_of_another_form_is_refused_and_not_repeated(self, secret: str) -> None:
        with pytest.raises(ValueError, match="ACCESS_KEY_ID:SECRET") as caught:
            AwsProvider("aws", SecretStr(secret))
        assert "hush" not in str(caught.value)

    async def test_no_answer_at_all_is_a_matter_of_the_network(self) -> None:
        provider = AwsProvider("aws", SecretStr(f"AKIAEXAMPLEKEY234567:{SECRET}"), base_url="http://127.0.0.1:9")
        with pytest.raises(Retryable) as caught:
            await provider.snapshot("role/shop")
        await provider.close()
        assert caught.value.reason is Reason.NETWORK


class TestWithoutBoto3:
    def test_the_steps_are_told_without_loading_it(self) -> None:
        program = "import sys, containment.providers.aws as aws; print(list(aws.STEPS), 'boto3' in sys.modules)"
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
        assert shown.stdout == "['block', 'disable', 'revoke'] False\n"

    def test_building_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "boto3", None)
        for part in ("aws_iam", "aws_api"):
            monkeypatch.delitem(sys.modules, f"containment.providers.{part}", raising=False)
        with pytest.raises(ValueError, match=r"providers\.mine: .*pip install keyfuse\[aws\]"):
            build_provider("mine", ProviderConfig(kind="aws"), None)
