"""AWS IAM as moto keeps it, behind a real loopback server: signatures and permissions are checked by moto as well.

moto has no service-specific credentials (Bedrock keys), so these three operations are added to its IAM here, strictly
by the documented shape, and pass moto's check of signature and permission like all others.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from moto.core import enable_iam_authentication
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.request import Request
from moto.iam.exceptions import NotFoundException, ValidationError
from moto.iam.models import IAMBackend, iam_backends
from moto.iam.responses import IamResponse
from starlette.types import Receive, Scope, Send

from tests.containment.published.checked import again, whole
from tests.containment.published.query import wrong_in_answer
from tests.containment.servers.serve import Faulty

PAGE: Final = Path(__file__).parents[3] / "docs/providers/aws.md"
NAMESPACE: Final = "https://iam.amazonaws.com/doc/2010-05-08/"
BEDROCK: Final = "bedrock.amazonaws.com"
SHOP: Final = "shop"  # the user, and the role, whose keys are cut


class BedrockKeys:
    """Service-specific credentials: user -> id -> status."""

    def __init__(self, keys: dict[str, dict[str, str]]) -> None:
        self.of = keys


class Iam(IamResponse):
    """moto's IAM and what it lacks."""

    bedrock = BedrockKeys({})

    def list_service_specific_credentials(self) -> str:
        user = self._user()
        if self._get_param("ServiceName") not in {None, BEDROCK}:
            raise ValidationError("1 validation error detected: no such service")
        rows = "".join(_row(user, key, status) for key, status in self.bedrock.of.get(user, {}).items())
        result = f"<ServiceSpecificCredentials>{rows}</ServiceSpecificCredentials><IsTruncated>false</IsTruncated>"
        return _answer("ListServiceSpecificCredentials", result)

    def update_service_specific_credential(self) -> str:
        keys, key, status = self.bedrock.of.get(self._user(), {}), self._key(), self._get_param("Status")
        if status not in {"Active", "Inactive"}:
            raise ValidationError(f"1 validation error detected: Value '{status}' at 'status' failed to satisfy")
        keys[key] = status
        return _answer("UpdateServiceSpecificCredential")

    def delete_service_specific_credential(self) -> str:
        del self.bedrock.of[self._user()][self._key()]
        return _answer("DeleteServiceSpecificCredential")

    def _user(self) -> str:
        name: str = self.backend.get_user(self._get_param("UserName")).name  # raises NoSuchEntity
        return name

    def _key(self) -> str:
        key: str = self._get_param("ServiceSpecificCredentialId") or ""
        if not re.fullmatch(r"\w{20,128}", key):
            raise ValidationError("Value at 'serviceSpecificCredentialId' failed to satisfy constraint")
        if key not in self.bedrock.of.get(self._user(), {}):
            raise NotFoundException(f"The Service Specific Credential {key} cannot be found.")
        return key


def _row(user: str, key: str, status: str) -> str:
    fields = {
        "UserName": user,
        "Status": status,
        "ServiceUserName": f"{user}-at-{DEFAULT_ACCOUNT_ID}",
        "CreateDate": "2026-10-30T23:58:27Z",
        "ServiceSpecificCredentialId": key,
        "ServiceName": BEDROCK,
    }
    return "<member>" + "".join(f"<{name}>{escape(text)}</{name}>" for name, text in fields.items()) + "</member>"


def _answer(operation: str, result: str = "") -> str:
    shown = f"<{operation}Result>{result}</{operation}Result>" if result else ""
    meta = "<ResponseMetadata><RequestId>7a62c49f-347e-4fc4-9331-6e8eEXAMPLE</RequestId></ResponseMetadata>"
    return f'<{operation}Response xmlns="{NAMESPACE}">{shown}{meta}</{operation}Response>'


class World:
    """An account with Keyfuse's own user, a shop with keys of each kind, and no other user.

    Keyfuse's user holds the policy that `docs/providers/aws.md` shows, so that a call it does not allow fails here.
    """

    def __init__(self, secret: str) -> None:
        self.iam: IAMBackend = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
        self.iam.reset()
        self.iam.create_user("us-east-1", "keyfuse")
        self.iam.put_user_policy("keyfuse", "least", json.dumps(documented_policy()))
        own = self.iam.create_access_key("keyfuse")
        own.secret_access_key = secret
        self.own_id = own.access_key_id
        self.iam.create_user("us-east-1", SHOP)
        self.access_key = self.iam.create_access_key(SHOP).access_key_id
        self.bedrock_key = "ACCA" + "EXAMPLEKEY234567"
        self.bedrock = BedrockKeys({SHOP: {self.bedrock_key: "Active"}})
        self.iam.create_role(SHOP, "{}", "/", "", "", [], "3600")


def documented_policy(*lacking: str) -> dict[str, Any]:
    """The JSON of the page, less some actions. moto checks no resource of a user, so all of them stand for any here."""
    found = re.search(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    policy: dict[str, Any] = json.loads(found[1])
    for statement in policy["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action not in lacking]
        statement["Resource"] = "*"
    return policy


@contextlib.contextmanager
def account(secret: str) -> Iterator[World]:
    """moto's one account, fresh, with authentication on."""
    world = World(secret)
    Iam.bedrock = world.bedrock
    with enable_iam_authentication():
        yield world


class App:
    """The IAM Query API, answered by moto. What AWS does not describe so is noted in `deviations`."""

    def __init__(self) -> None:
        self.deviations: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = await whole(receive)
        request = Request.from_primitives("POST", f"http://{headers['host']}/", headers, asked)
        status, answered, body = Iam.dispatch(request, request.raw_url, request.headers)
        kept = [(str(name).encode(), str(value).encode()) for name, value in answered.items() if name != "status"]
        data = body.encode() if isinstance(body, str) else body
        self.deviations += wrong_in_answer(parse_qs(asked.decode())["Action"][0], status, data)
        await send({"type": "http.response.start", "status": status, "headers": kept})
        await send({"type": "http.response.body", "body": data})


class FaultyQueries(Faulty):
    """All queries are POST to one path: the action says whether it reads, and is what the tests get to see."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            body = await whole(receive)
            action = parse_qs(body.decode()).get("Action", ["?"])[0]
            method = "GET" if action.startswith(("List", "Get")) else "POST"
            scope = {**scope, "method": method, "path": f"/{action}"}
            receive = again(body)
        await super().__call__(scope, receive, send)
