"""The descriptions that providers publish are really held against requests and answers, both ways."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from openrouter import OpenRouter
from openrouter.errors import OpenRouterError
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from containment.providers.openai import OpenAIProvider
from containment.providers.openrouter import OpenRouterProvider
from tests.containment.published import clients, query
from tests.containment.published.checked import Checked
from tests.containment.published.description import Description
from tests.containment.published.files import Name, document, published
from tests.containment.published.trim import USED, trimmed
from tests.containment.servers import openrouter
from tests.containment.servers.serve import Faulty, serving

SECRET = SecretStr("plainly-secret")
JSON = "application/json"
SECRETS = "/api/v1/namespaces/gateway/secrets"
ARM = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a"
GOOGLE_KEY = "/v2/projects/p/locations/global/keys/k"
LIMIT = {"object": "project.rate_limit", "id": "rl-a", "model": "a", "max_requests_per_1_minute": 1,
         "max_tokens_per_1_minute": 1}  # fmt: skip
ANTHROPIC = {
    "type": "api_key", "id": "apikey_1", "name": "n", "status": "active", "partial_key_hint": "sk", "expires_at": None,
    "created_at": "2026-10-30T23:58:27Z", "created_by": {"id": "u", "type": "user"}, "principal": None,
    "scope": {"type": "workspace", "workspace_id": "w"},
}  # fmt: skip


def asked(
    description: Description, method: str, path: str, body: Any = None, *, of: str = "", kind: str = JSON
) -> list[str]:
    operation = description.find(method, path)
    if operation is None:
        return ["no such call"]
    sent = b"" if body is None else json.dumps(body).encode()
    return description.wrong_in_request(operation, of, kind, sent)


def answered(description: Description, method: str, path: str, body: Any, *, status: int = 200) -> list[str]:
    operation = description.find(method, path)
    assert operation
    return description.wrong_in_answer(operation, status, JSON, json.dumps(body).encode())


OPENAI, KUBERNETES, GOOGLE, LITELLM = (published(name) for name in ("openai", "kubernetes", "google", "litellm"))
AZURE, OPENROUTER, BY_ANTHROPIC = clients.azure_accounts(), clients.openrouter_keys(), clients.anthropic()
RATE_LIMIT = "/organization/projects/p/rate_limits/rl-a"
MERGE = "application/merge-patch+json"
GOOD: list[Callable[[], list[str]]] = [
    lambda: asked(OPENAI, "POST", RATE_LIMIT, {"max_requests_per_1_minute": 1}),
    lambda: answered(OPENAI, "POST", RATE_LIMIT, LIMIT),
    lambda: asked(OPENAI, "GET", "/organization/projects/p/rate_limits", of="limit=100&after=rl-a"),
    lambda: asked(KUBERNETES, "PATCH", f"{SECRETS}/llm-keys", {"data": {"a": None}}, kind=MERGE),
    lambda: answered(KUBERNETES, "GET", f"{SECRETS}/llm-keys", {"kind": "Secret", "data": {"a": "eA=="}}),
    lambda: asked(GOOGLE, "PATCH", GOOGLE_KEY, {"restrictions": {"apiTargets": []}}, of="updateMask=restrictions"),
    lambda: asked(GOOGLE, "POST", f"{GOOGLE_KEY}:undelete", {}),
    lambda: asked(LITELLM, "POST", "/key/block", {"key": "a"}),
    lambda: asked(AZURE, "POST", f"{ARM}/regenerateKey", {"keyName": "Key1"}, of="api-version=2025-06-01"),
    lambda: asked(OPENROUTER, "PATCH", "/api/v1/keys/h", {"limit": 1.5, "limit_reset": None}),
    lambda: asked(BY_ANTHROPIC, "POST", "/v1/organizations/api_keys/apikey_1", {"status": "inactive"}),
    lambda: answered(BY_ANTHROPIC, "GET", "/v1/organizations/api_keys/apikey_1", ANTHROPIC),
    lambda: answered(OPENAI, "POST", RATE_LIMIT, {"error": "whatever"}, status=500),
]
WRONG: dict[str, Callable[[], list[str]]] = {
    "another path": lambda: asked(OPENAI, "GET", "/organization/projects/p/rate_limit"),
    "another method": lambda: asked(OPENAI, "PATCH", RATE_LIMIT, {"max_requests_per_1_minute": 1}),
    "a field more is asked": lambda: asked(OPENAI, "POST", RATE_LIMIT, {"max_requests_per_minute": 1}),
    "a field of another type is asked": lambda: asked(OPENAI, "POST", RATE_LIMIT, {"max_requests_per_1_minute": "1"}),
    "no body": lambda: asked(LITELLM, "POST", "/key/block"),
    "a body where none belongs": lambda: asked(KUBERNETES, "GET", f"{SECRETS}/llm-keys", {}),
    "a field less is asked": lambda: asked(LITELLM, "POST", "/key/block", {}),
    "another value is asked": lambda: asked(
        BY_ANTHROPIC, "POST", "/v1/organizations/api_keys/apikey_1", {"status": "disabled"}
    ),
    "another form of body": lambda: asked(KUBERNETES, "PATCH", f"{SECRETS}/llm-keys", {"data": {}}),
    "a query more": lambda: asked(GOOGLE, "PATCH", GOOGLE_KEY, {}, of="updatemask=restrictions"),
    "a query less": lambda: asked(AZURE, "POST", f"{ARM}/listKeys"),
    "a query of another type": lambda: asked(OPENAI, "GET", "/organization/projects/p/rate_limits", of="limit=all"),
    "what only the provider sets": lambda: asked(
        AZURE, "PATCH", ARM, {"properties": {"provisioningState": "Succeeded"}}, of="api-version=2025-06-01"
    ),
    "a deep field more": lambda: asked(GOOGLE, "PATCH", GOOGLE_KEY, {"restrictions": {"allowedIps": []}}),
    "an answer with a field more": lambda: answered(OPENAI, "POST", RATE_LIMIT, LIMIT | {"limit": 1}),
    "an answer with a field less": lambda: answered(
        OPENAI, "POST", RATE_LIMIT, {name: value for name, value in LIMIT.items() if name != "id"}
    ),
    "an answer of another type": lambda: answered(OPENAI, "POST", RATE_LIMIT, LIMIT | {"max_tokens_per_1_minute": 0.5}),
    "an answer with another status": lambda: answered(OPENAI, "POST", RATE_LIMIT, LIMIT, status=201),
    "an answer with another value": lambda: answered(
        BY_ANTHROPIC, "GET", "/v1/organizations/api_keys/apikey_1", ANTHROPIC | {"type": "key"}
    ),
    "an answer with a deep field more": lambda: answered(
        BY_ANTHROPIC, "GET", "/v1/organizations/api_keys/apikey_1", ANTHROPIC | {"created_by": {"id": "u", "kind": "x"}}
    ),
    "an answer that is no JSON object": lambda: answered(AZURE, "GET", ARM, []),
    "an error that is described otherwise": lambda: answered(LITELLM, "POST", "/key/block", {"detail": 7}, status=422),
}  # fmt: skip


@pytest.mark.parametrize("case", range(len(GOOD)))
def test_what_is_as_described_is_no_deviation(case: int) -> None:
    assert GOOD[case]() == []


@pytest.mark.parametrize("name", WRONG)
def test_whatever_else_is_one(name: str) -> None:
    assert WRONG[name]()


XML = (
    '<ListServiceSpecificCredentialsResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
    "<ListServiceSpecificCredentialsResult><ServiceSpecificCredentials><member><UserName>shop</UserName>"
    "<Status>Active</Status><CreateDate>2026-10-30T23:58:27Z</CreateDate>"
    "<ServiceSpecificCredentialId>ACCA1</ServiceSpecificCredentialId><ServiceName>bedrock.amazonaws.com</ServiceName>"
    "</member></ServiceSpecificCredentials></ListServiceSpecificCredentialsResult>"
    "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></ListServiceSpecificCredentialsResponse>"
)


@pytest.mark.parametrize(
    ("was", "now", "deviates"),
    [
        ("", "", False),
        ("<Status>Active</Status>", "<Status>Disabled</Status>", True),
        ("<Status>Active</Status>", "", True),
        ("ServiceSpecificCredentialId>", "CredentialId>", True),
        ("<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>", "", True),
        ("CredentialsResult>", "CredentialsAnswer>", True),
    ],
)
def test_an_answer_of_iam_is_held_to_what_the_client_knows_of_it(was: str, now: str, deviates: bool) -> None:
    found = query.wrong_in_answer("ListServiceSpecificCredentials", 200, XML.replace(was, now).encode())
    assert bool(found) is deviates
    assert query.wrong_in_answer("ListBedrockKeys", 200, XML.encode())


@pytest.mark.parametrize("name", ["google", "kubernetes", "litellm", "openai"])
def test_a_file_holds_what_is_used_and_no_more(name: Name) -> None:
    whole = document(name)
    assert trimmed(whole, USED[name], whole["info"]["title"]) == whole


class Canned:
    """Answers each call with the example that the description itself gives."""

    def __init__(self, description: Description, examples: dict[str, str]) -> None:
        self._description = description
        self._examples = examples

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        operation = self._description.find(scope["method"], scope["path"])
        example = self._examples.get(operation.words) if operation else None
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200 if example else 404, "headers": headers})
        await send({"type": "http.response.body", "body": (example or '{"error": {"message": "none"}}').encode()})


def examples() -> Iterator[tuple[str, str]]:
    for path, methods in document("openai")["paths"].items():
        for method, described in methods.items():
            yield f"{method.upper()} /v1{path}", described["x-example"]


async def test_the_adapter_understands_openais_own_examples() -> None:
    canned = Canned(published("openai", prefix="/v1"), dict(examples()))
    ref = "proj_abc/sa/svc_acct_abc"
    async with serving(Faulty(canned)) as url:
        provider = OpenAIProvider("openai", SECRET, base_url=f"{url}/v1", degrade_to=("gpt-4.1", "o3"))
        before = await provider.snapshot(ref)
        seen = {step: (await provider.in_effect(step, ref)).state for step in provider.steps_of(ref)}
        assert await provider.apply("revoke", ref) == "deleted"
        await provider.close()
    assert before["name"] == "Service Account"
    assert json.loads(before["throttle"])["rl-ada"]["max_requests_per_1_minute"] == 600
    assert json.loads(before["degrade"]) == ["allow_list", ["gpt-4.1", "o3"]]
    assert seen == {"throttle": "no", "degrade": "yes", "block": "no", "revoke": "no"}


async def test_openrouters_own_client_asks_our_server_for_the_same_as_our_adapter() -> None:
    """Both ways at once: their client understands our server, and our adapter says what their client says."""
    heard = []
    for theirs in (True, False):
        keys = {openrouter.LIVE: openrouter.Key(limit=100)}
        app = openrouter.create("plainly-secret", keys)
        recorder = Recorder(app)
        async with serving(Faulty(recorder)) as url:
            if theirs:
                async with OpenRouter(api_key="plainly-secret", server_url=f"{url}/api/v1") as client:
                    await by_their_client(client)
            else:
                provider = OpenRouterProvider("openrouter", SECRET, base_url=f"{url}/api/v1")
                await provider.snapshot(openrouter.LIVE)
                await provider.apply("disable", openrouter.LIVE)
                await provider.apply("revoke", openrouter.LIVE)
                await provider.close()
        assert app.deviations == []
        heard.append(recorder.heard)
    assert heard[0] == heard[1]


async def by_their_client(client: OpenRouter) -> None:
    shown = await client.api_keys.get_async(hash=openrouter.LIVE)
    assert (shown.data.hash, shown.data.limit_remaining) == (openrouter.LIVE, 74.5)
    changed = await client.api_keys.update_async(hash=openrouter.LIVE, disabled=True)
    assert changed.data.disabled is True
    await client.api_keys.delete_async(hash=openrouter.LIVE)
    with pytest.raises(OpenRouterError):
        await client.api_keys.get_async(hash=openrouter.LIVE)


class Recorder:
    """What was asked: method, path and body; the last look, which only their client takes, left out."""

    def __init__(self, app: Checked) -> None:
        self._app = app
        self.heard: list[tuple[str, str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        body = message.get("body", b"")
        if not (self.heard and self.heard[-1][0] == "DELETE"):
            self.heard.append((scope["method"], scope["path"], json.loads(body) if body else None))

        async def again() -> Any:
            return message

        await self._app(scope, again, send)


async def test_a_test_whose_server_deviates_fails() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b'{"data": {}}'})

    with pytest.raises(AssertionError, match="not as the provider describes it: GET /api/v1/key"):
        async with serving(Faulty(Checked(app, OPENROUTER))) as url, httpx.AsyncClient() as client:
            await client.get(f"{url}/api/v1/key")
