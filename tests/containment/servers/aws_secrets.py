"""AWS Secrets Manager as moto keeps it, behind a real loopback server: moto checks signature and permission as well.

Keyfuse's user holds the policy that `docs/backup.md` shows, so a call that it does not allow fails here.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from moto.core import enable_iam_authentication
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.request import Request
from moto.iam.models import iam_backends
from moto.secretsmanager.models import SecretsManagerBackend, secretsmanager_backends
from moto.secretsmanager.responses import SecretsManagerResponse
from starlette.types import Receive, Scope, Send

from tests.containment.published.checked import again, whole
from tests.containment.servers.serve import Faulty

PAGE: Final = Path(__file__).parents[3] / "docs/backup.md"
REGION: Final = "eu-central-1"
SECRET_ID: Final = "prod/shop/openai"
_CODES: Final = {
    "SignatureDoesNotMatch": "InvalidSignatureException", "InvalidClientTokenId": "UnrecognizedClientException",
    "AccessDenied": "AccessDeniedException",
}  # fmt: skip


class World:
    """A secret with two versions: the one in use, and one with the label BACKUP."""

    def __init__(self, secret: str, values: tuple[str, str]) -> None:
        iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
        iam.reset()
        iam.create_user("us-east-1", "keyfuse")
        iam.put_user_policy("keyfuse", "least", json.dumps(documented_policy()))
        own = iam.create_access_key("keyfuse")
        own.secret_access_key = secret
        self.own_id = own.access_key_id
        self.backend: SecretsManagerBackend = secretsmanager_backends[DEFAULT_ACCOUNT_ID][REGION]
        self.backend.reset()
        self.backend.create_secret(
            SECRET_ID, secret_string=values[0], secret_binary=None, description=None, tags=None, kms_key_id=None,
            client_request_token=None, replica_regions=[], force_overwrite=False,
        )  # fmt: skip
        self.put(values[1], "BACKUP")

    def rotate(self, value: str) -> None:
        """As a rotation does: a pending version first, then it becomes the current one."""
        self.put(value, "AWSPENDING")
        labels = {label: number for number, each in self._versions().items() for label in each["version_stages"]}
        self.backend.update_secret_version_stage(SECRET_ID, "AWSCURRENT", labels["AWSCURRENT"], labels["AWSPENDING"])

    def _versions(self) -> dict[str, Any]:
        found: Any = self.backend.secrets[SECRET_ID]
        versions: dict[str, Any] = found.versions
        return versions

    def put(self, value: str, *labels: str) -> None:
        """A version with these labels, which users of none do not see."""
        self.backend.put_secret_value(
            SECRET_ID, secret_string=value, secret_binary="", client_request_token="", version_stages=list(labels)
        )

    def in_use(self) -> str:
        found: dict[str, Any] = self.backend.get_secret_value(SECRET_ID, "", "AWSCURRENT")
        return str(found["SecretString"])


def documented_policy() -> dict[str, Any]:
    found = re.search(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    policy: dict[str, Any] = json.loads(found[1])
    for statement in policy["Statement"]:
        statement["Resource"] = "*"  # moto checks no resource of a secret
    return policy


@contextlib.contextmanager
def account(secret: str, values: tuple[str, str]) -> Iterator[World]:
    """moto's one account, fresh, with authentication on."""
    world = World(secret, values)
    with enable_iam_authentication():
        yield world


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """One request of the JSON protocol, answered by moto."""
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    request = Request.from_primitives("POST", f"http://{headers['host']}/", headers, (await receive())["body"])
    status, answered, body = SecretsManagerResponse.dispatch(request, request.raw_url, request.headers)
    kept = [(str(name).encode(), str(value).encode()) for name, value in answered.items() if name != "status"]
    data = body.encode() if isinstance(body, str) else body
    if data.startswith(b"<?xml"):
        status, kept, data = 400, [(b"content-type", b"application/x-amz-json-1.1")], _as_json(data.decode())
    await send({"type": "http.response.start", "status": status, "headers": kept})
    await send({"type": "http.response.body", "body": data})


def _as_json(refusal: str) -> bytes:
    """moto refuses signatures and permissions of every service in IAM's XML; this one has codes of its own, in JSON."""
    code = re.search(r"<Code>(\w+)</Code>", refusal)
    assert code
    return json.dumps({"__type": _CODES[code[1]], "message": "refused"}).encode()


class FaultyTargets(Faulty):
    """All calls are POST to one path: the operation says whether it reads, and is what the tests get to see."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            body = await whole(receive)
            target = dict(scope["headers"]).get(b"x-amz-target", b"?").decode().rpartition(".")[2]
            scope = {
                **scope,
                "method": "GET" if target.startswith(("Describe", "Get")) else "POST",
                "path": f"/{target}",
            }
            receive = again(body)
        await super().__call__(scope, receive, send)
