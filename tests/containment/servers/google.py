"""API Keys v2 and the keys of service accounts (IAM v1) as Google documents them, and the token endpoint."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse
from google.auth import jwt

from tests.containment.published.checked import Checked
from tests.containment.published.files import published

API_KEY: Final = "projects/shop/locations/global/keys/b7ff1f9f-8275"
ACCOUNT_KEY: Final = "projects/shop/serviceAccounts/llm@shop.iam.gserviceaccount.com/keys/f00d5eed"
RESTRICTIONS: Final = {
    "apiTargets": [
        {"service": "generativelanguage.googleapis.com"},
        {"service": "translate.googleapis.com", "methods": ["Get*"]},
    ],
    "serverKeyRestrictions": {"allowedIps": ["192.0.2.7"]},
}
_CODES: Final = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
_INFO: Final = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "googleapis.com"}
_ONE_OF: Final = {"browserKeyRestrictions", "serverKeyRestrictions", "androidKeyRestrictions", "iosKeyRestrictions"}
_AUDIENCE: Final = "https://oauth2.googleapis.com/token"  # wherever the endpoint is
_JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@functools.cache
def key_pair(owner: str) -> tuple[str, str]:
    """Private and public key (PEM), made once in a process; the owner's name only tells pairs apart."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # read in no time
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode(), public.decode()


def key_file(owner: str, token_url: str) -> str:
    """As the console makes it."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "watch",
            "private_key_id": "1",
            "private_key": key_pair(owner)[0],
            "client_email": "keyfuse@watch.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{token_url}/token",
        }
    )


def create_tokens(owner: str, token: str) -> FastAPI:
    """Gives out `token` for assertions that the owner signed."""
    app = FastAPI()

    @app.post("/token")
    async def grant(request: Request) -> Any:
        form = dict(parse_qsl((await request.body()).decode()))
        decode: Any = jwt.decode
        try:
            claims = decode(form["assertion"], certs=key_pair(owner)[1], audience=_AUDIENCE)
        except ValueError:
            wrong = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            return JSONResponse(wrong, 400)
        if form["grant_type"] != _JWT_BEARER or "cloud-platform" not in claims.get("scope", ""):
            return JSONResponse({"error": "invalid_scope"}, 400)
        return {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}

    return app


@dataclass
class Project:
    """What Google keeps of the project `shop`."""

    token: str
    restrictions: dict[str, Any] | None = field(default_factory=lambda: dict(RESTRICTIONS))  # of the one API key
    deleted: bool = False
    account_key: str = "active"  # or disabled, or gone
    looks: int = 1  # at an operation, before it is done
    failure: dict[str, Any] | None = None  # what operations end with
    _looked: dict[str, int] = field(default_factory=dict)

    def api_key(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "name": API_KEY.replace(
                "/shop/", "/123456867718/"
            ),  # asked by the project's id, it answers with its number
            "uid": "b7ff1f9f-8275",
            "displayName": "checkout",
            "createTime": "2026-10-30T23:58:27.427722Z",
            "updateTime": "2026-10-30T23:58:27.427722Z",
            "etag": 'W/"u"',
        }
        if self.restrictions is not None:
            shown |= {"restrictions": self.restrictions}
        return {**shown, "deleteTime": "2026-11-24T02:40:00Z"} if self.deleted else shown

    def operation(self) -> dict[str, Any]:
        name = f"operations/akmf.p7-123456867718-{len(self._looked)}"
        self._looked[name] = 0
        return self._shown(name)

    def look(self, name: str) -> dict[str, Any] | None:
        if name not in self._looked:
            return None
        self._looked[name] += 1
        return self._shown(name)

    def _shown(self, name: str) -> dict[str, Any]:
        if self._looked[name] < self.looks:
            return {"name": name}
        if self.failure:
            return {"name": name, "done": True, "error": self.failure}
        return {"name": name, "done": True, "response": {"@type": "type.googleapis.com/google.api.apikeys.v2.Key"}}


def _error(status: int, message: str, kind: str = "", **more: Any) -> JSONResponse:
    told = {"code": status, "message": message, "status": kind or _CODES[status], **more}
    return JSONResponse({"error": told}, status)


def _wrong(restrictions: Any) -> bool:
    if not isinstance(restrictions, dict) or restrictions.keys() - _ONE_OF - {"apiTargets"}:
        return True
    targets = restrictions.get("apiTargets", [])
    named = all(re.fullmatch(r"[a-z]+\.googleapis\.com", target.get("service", "")) for target in targets)
    return not named or len(restrictions.keys() & _ONE_OF) > 1


def create(project: Project) -> Checked:
    """Both services on one address, as `base_url` has it."""
    app = FastAPI()
    _api_keys(app, project)
    _account_keys(app, project)
    return Checked(app, published("google"))


def _denied(project: Project, authorization: str) -> JSONResponse | None:
    if authorization == f"Bearer {project.token}":
        return None
    return _error(401, f"Request had invalid authentication credentials: {authorization}")


def _api_keys(app: FastAPI, project: Project) -> None:  # noqa: C901 - one documented shape, read in one piece
    path = "/v2/projects/{name}/locations/global/keys/{key}"

    def stop(request: Request, authorization: str) -> JSONResponse | None:
        asked = request.url.path.removeprefix("/v2/").partition(":")[0]
        if asked == API_KEY:
            return _denied(project, authorization)
        return _denied(project, authorization) or _error(404, f"API key {asked} not found.")

    @app.get(path)
    async def get(request: Request, authorization: Annotated[str, Header()] = "") -> Any:
        return stop(request, authorization) or project.api_key()

    @app.patch(path)
    async def patch(request: Request, updateMask: str = "", authorization: Annotated[str, Header()] = "") -> Any:
        stopped = stop(request, authorization)
        if stopped:
            return stopped
        body = await request.json()
        if updateMask != "restrictions" or _wrong(body.get("restrictions")):
            return _error(400, "Request contains an invalid argument.")
        if project.deleted:
            return _error(400, "The key is deleted.", "FAILED_PRECONDITION")
        project.restrictions = body["restrictions"] or None
        return project.operation()

    @app.delete(path)
    async def delete(request: Request, authorization: Annotated[str, Header()] = "") -> Any:
        stopped = stop(request, authorization)
        if stopped:
            return stopped
        if project.deleted:
            return _error(400, "The key is deleted already.", "FAILED_PRECONDITION")
        project.deleted = True
        return project.operation()

    @app.post(path)
    async def undelete(request: Request, key: str, authorization: Annotated[str, Header()] = "") -> Any:
        stopped = stop(request, authorization)
        if stopped or not key.endswith(":undelete"):
            return stopped or _error(404, "Not found.")
        if await request.json() != {} or not project.deleted:
            return _error(400, "The key is not deleted.", "FAILED_PRECONDITION")
        project.deleted = False
        return project.operation()

    @app.get("/v1beta/models")
    async def models(x_goog_api_key: Annotated[str, Header()] = "") -> Any:
        """For callers. In the tests the key's value is `AIza` and its id."""
        services = [target["service"] for target in (project.restrictions or {}).get("apiTargets", [])]
        if project.deleted or x_goog_api_key != "AIza" + API_KEY.rpartition("/")[2]:
            return _error(400, "API key not valid.", details=[{**_INFO, "reason": "API_KEY_INVALID"}])
        if services and "generativelanguage.googleapis.com" not in services:
            words = "Requests to this API generativelanguage.googleapis.com method are blocked."
            return _error(403, words, details=[{**_INFO, "reason": "API_KEY_SERVICE_BLOCKED"}])
        return {"models": []}

    @app.get("/v2/operations/{name}")
    async def operation(name: str, authorization: Annotated[str, Header()] = "") -> Any:
        denied = _denied(project, authorization)
        return denied or project.look(f"operations/{name}") or _error(404, "Operation not found.")


def _account_keys(app: FastAPI, project: Project) -> None:
    path = "/v1/projects/{name}/serviceAccounts/{email}/keys/{key}"

    def stop(request: Request, authorization: str) -> JSONResponse | None:
        asked = request.url.path.removeprefix("/v1/").partition(":")[0]
        known = asked == ACCOUNT_KEY and project.account_key != "gone"
        return _denied(project, authorization) or (None if known else _error(404, f"Unknown key {asked}"))

    @app.get(path)
    async def get(request: Request, authorization: Annotated[str, Header()] = "") -> Any:
        shown = {
            "name": ACCOUNT_KEY,
            "validAfterTime": "2026-10-30T23:58:27Z",
            "validBeforeTime": "9999-12-31T23:59:59Z",
            "keyAlgorithm": "KEY_ALG_RSA_2048",
            "keyOrigin": "GOOGLE_PROVIDED",
            "keyType": "USER_MANAGED",
        }
        disabled = {"disabled": True} if project.account_key == "disabled" else {}  # false is left out
        return stop(request, authorization) or {**shown, **disabled}

    @app.get(path.removesuffix("/{key}"))
    async def listed(request: Request, authorization: Annotated[str, Header()] = "") -> Any:
        parent = ACCOUNT_KEY.rpartition("/")[0]
        if request.url.path != f"/v1/{parent}":
            return _denied(project, authorization) or _error(404, "Unknown service account")
        theirs = [{"name": f"{parent}/0", "keyType": "SYSTEM_MANAGED"}]  # Google's own, which no account is without
        ours = [] if project.account_key == "gone" else [{"name": ACCOUNT_KEY, "keyType": "USER_MANAGED"}]
        return _denied(project, authorization) or {"keys": theirs + ours}

    @app.delete(path)
    async def delete(request: Request, authorization: Annotated[str, Header()] = "") -> Any:
        stopped = stop(request, authorization)
        if stopped:
            return stopped
        project.account_key = "gone"
        return {}

    @app.post(path)
    async def change(request: Request, key: str, authorization: Annotated[str, Header()] = "") -> Any:
        stopped, verb = stop(request, authorization), key.partition(":")[2]
        if stopped or verb not in {"disable", "enable"}:
            return stopped or _error(404, "Not found.")
        if await request.json() != {}:
            return _error(400, "Request contains an invalid argument.")
        project.account_key = "disabled" if verb == "disable" else "active"
        return {}
