"""Cognitive Services accounts as Azure Resource Manager documents them: get, update, listKeys, regenerateKey.

Known only from its answers: while key access is switched off (`disableLocalAuth`) the keys are not listed (400).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from tests.containment.published.checked import Checked
from tests.containment.published.clients import azure_accounts

SUBSCRIPTION = "6b1f8a54-0000-4000-8000-1d2e3f405162"
GROUP = "ai-prod"
PATH = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.CognitiveServices/accounts/{account}"
VERSIONS = frozenset({"2025-06-01", "2025-09-01"})


class Properties(BaseModel, extra="forbid", strict=True):
    disableLocalAuth: bool


class Update(BaseModel, extra="forbid", strict=True):
    properties: Properties


class Regenerate(BaseModel, extra="forbid", strict=True):
    keyName: Literal["Key1", "Key2"]


@dataclass
class Account:
    """An account; `generation` counts each key's values."""

    disable_local_auth: bool | None = None
    state: str = "Succeeded"
    generation: dict[str, int] = field(default_factory=lambda: {"Key1": 1, "Key2": 1})

    def key(self, slot: str) -> str:
        return f"{slot.lower()}-value-{self.generation[slot]}-0123456789abcdef"


def create(  # noqa: C901 - one documented shape, read in one piece
    token: str, accounts: dict[str, Account], *, allowed: Callable[[str], bool] = lambda action: True
) -> Checked:
    """`accounts`: name -> account, all in one group. `allowed`: whether the token's role has an action."""
    app = FastAPI()

    def error(status: int, code: str, message: str) -> JSONResponse:
        return JSONResponse({"error": {"code": code, "message": message}}, status)

    @app.exception_handler(RequestValidationError)
    async def bad(request: Request, exc: RequestValidationError) -> JSONResponse:
        return error(400, "InvalidRequestContent", "The request content was invalid")

    def stop(request: Request, authorization: str, action: str) -> JSONResponse | None:
        at = request.path_params
        if authorization != f"Bearer {token}":
            given = authorization.removeprefix("Bearer ")
            return error(401, "InvalidAuthenticationToken", f"The access token {given} is invalid.")
        if request.query_params.get("api-version") not in VERSIONS:
            return error(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if at["subscription"] != SUBSCRIPTION:
            return error(404, "SubscriptionNotFound", f"The subscription '{at['subscription']}' could not be found.")
        if not allowed(action):
            what = f"does not have authorization to perform action 'Microsoft.CognitiveServices/accounts/{action}'"
            return error(403, "AuthorizationFailed", f"The client 'keyfuse' {what}")
        if at["group"] != GROUP or at["account"] not in accounts:
            return error(404, "ResourceNotFound", f"The Resource '{at['account']}' was not found.")
        return None

    def keys(account: Account, verb: str) -> Any:
        if account.disable_local_auth:
            return error(400, "BadRequest", f"Failed to {verb} key. disableLocalAuth is set to be true")
        return {"key1": account.key("Key1"), "key2": account.key("Key2")}

    @app.get(PATH)
    async def get(request: Request, authorization: Annotated[str, Header()] = "") -> Any:
        return stop(request, authorization, "read") or _shown(request, accounts[request.path_params["account"]])

    @app.patch(PATH)
    async def update(data: Update, request: Request, authorization: Annotated[str, Header()] = "") -> Any:
        stopped = stop(request, authorization, "write")
        if stopped:
            return stopped
        account = accounts[request.path_params["account"]]
        account.disable_local_auth = data.properties.disableLocalAuth
        return JSONResponse(_shown(request, account), 202)

    @app.post(PATH + "/listKeys")
    async def list_keys(request: Request, authorization: Annotated[str, Header()] = "") -> Any:
        stopped = stop(request, authorization, "listKeys/action")
        return stopped or keys(accounts[request.path_params["account"]], "list")

    @app.post(PATH + "/regenerateKey")
    async def regenerate(data: Regenerate, request: Request, authorization: Annotated[str, Header()] = "") -> Any:
        stopped = stop(request, authorization, "regenerateKey/action")
        if stopped:
            return stopped
        account = accounts[request.path_params["account"]]
        if not account.disable_local_auth:
            account.generation[data.keyName] += 1
        return keys(account, "regenerate")

    return Checked(app, azure_accounts())


def _shown(request: Request, account: Account) -> dict[str, Any]:
    properties: dict[str, Any] = {"provisioningState": account.state, "endpoint": "https://shop.openai.azure.com/"}
    if account.disable_local_auth is not None:
        properties["disableLocalAuth"] = account.disable_local_auth
    return {
        "id": request.url.path,
        "name": request.path_params["account"],
        "type": "Microsoft.CognitiveServices/accounts",
        "location": "westeurope",
        "kind": "OpenAI",
        "sku": {"name": "S0"},
        "etag": '"0"',
        "properties": properties,
    }
