"""Each minter against a server of the shape that its provider documents: made, found again by name, deleted."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from moto import mock_aws
from openai.types.admin.organization.projects.service_account_create_response import ServiceAccountCreateResponse
from openrouter.operations.createkeys import CreateKeysRequestBody, CreateKeysResponse
from pydantic import SecretStr

from containment.minters.aws import AwsMinter
from containment.minters.base import Minter, Wanted
from containment.minters.build import KINDS
from containment.minters.litellm import LiteLLMMinter
from containment.minters.openai import OpenAIMinter
from containment.minters.openrouter import OpenRouterMinter
from containment.minters.sandbox import SandboxMinter
from containment.providers.errors import ProviderError, Reason, Refused, Retryable
from containment.sandbox_server import create_sandbox
from tests.containment.bench import SECRET
from tests.containment.servers.serve import Faulty, Misbehave, serving

T0 = 1_795_428_000_000
WANTED = Wanted("keyfuse-search-r1", "proj_shop", usd_per_day=5.0, expires_ms=T0 + 3_600_000, expires_s=3600)


@dataclass
class Books:
    """What a server keeps: credentials by reference, and what was asked for each."""

    made: dict[str, dict[str, Any]] = field(default_factory=dict)

    def next(self, asked: dict[str, Any]) -> str:
        ref = f"{len(self.made) + 1:064x}"
        self.made[ref] = asked
        return ref


def openai_server(books: Books) -> FastAPI:
    app = FastAPI()
    path = "/v1/organization/projects/{project}/service_accounts"

    @app.post(path)
    async def create(project: str, request: Request) -> Any:
        asked = json.loads(await request.body())
        assert asked.keys() == {"name", "expires_in_seconds"}
        ref = books.next({**asked, "project": project})
        answer = {
            "id": ref, "created_at": 1, "name": asked["name"], "object": "organization.project.service_account",
            "role": "member", "api_key": {
                "id": "key_1", "created_at": 1, "name": "Secret Key", "value": f"sk-svcacct-{ref}",
                "object": "organization.project.service_account.api_key",
            },
        }  # fmt: skip
        return ServiceAccountCreateResponse.model_validate(answer).model_dump()

    @app.get(path)
    async def listed(project: str, after: str = "") -> Any:
        refs = [ref for ref in books.made if ref > after][:1]  # one a page: the second has to be asked for
        rows = [
            {"id": ref, "created_at": 1, "name": books.made[ref]["name"], "role": "member",
             "object": "organization.project.service_account"}
            for ref in refs
        ]  # fmt: skip
        more = any(ref > refs[-1] for ref in books.made) if refs else False
        return {"object": "list", "data": rows, "has_more": more, "first_id": None, "last_id": None}

    @app.delete(path + "/{ref}")
    async def delete(project: str, ref: str) -> Any:
        del books.made[ref]
        return {"object": "organization.project.service_account.deleted", "id": ref, "deleted": True}

    return app


def openrouter_server(books: Books) -> FastAPI:
    app = FastAPI()
    numbers = {f"{name}{span}": 0 for name in ("usage", "byok_usage") for span in ("", "_daily", "_weekly", "_monthly")}

    def shown(ref: str) -> dict[str, Any]:
        asked = books.made[ref]
        return numbers | {
            "hash": ref, "name": asked["name"], "label": "sk-or-v1-0e6...1c96", "disabled": False,
            "limit": asked.get("limit"), "limit_remaining": asked.get("limit"), "limit_reset": asked.get("limit_reset"),
            "include_byok_in_limit": False, "creator_user_id": None, "created_at": "2026-11-29T23:58:27Z",
            "updated_at": None, "external_user": None, "last_used_at": None, "workspace_id": "w",
        }  # fmt: skip

    @app.post("/api/v1/keys")
    async def create(request: Request) -> Any:
        asked = json.loads(await request.body())
        CreateKeysRequestBody.model_validate(asked)
        ref = books.next(asked)
        answer = {"data": shown(ref), "key": f"sk-or-v1-{ref}"}
        CreateKeysResponse.model_validate(answer)
        return JSONResponse(answer, 201)

    @app.get("/api/v1/keys")
    async def listed(offset: int = 0) -> Any:
        return {"data": [shown(ref) for ref in list(books.made)[offset : offset + 1]]}

    @app.delete("/api/v1/keys/{ref}")
    async def delete(ref: str) -> Any:
        del books.made[ref]
        return {"deleted": True}

    return app


def litellm_server(books: Books) -> FastAPI:
    app = FastAPI()

    @app.post("/key/generate")
    async def generate(request: Request) -> Any:
        asked = json.loads(await request.body())
        secret = f"sk-{len(books.made)}-litellm"
        books.made[hashlib.sha256(secret.encode()).hexdigest()] = {**asked, "name": asked["key_alias"]}
        return {"key": secret, "key_alias": asked["key_alias"], "expires": None}

    @app.post("/key/delete")
    async def delete(request: Request) -> Any:
        aliases = json.loads(await request.body())["key_aliases"]
        refs = [ref for ref, asked in books.made.items() if asked["name"] in aliases]
        if not refs:
            return JSONResponse({"detail": {"error": "No keys found"}}, 404)
        for ref in refs:
            del books.made[ref]
        return {"deleted_keys": refs}

    return app


SERVERS: dict[str, tuple[Callable[[Books], FastAPI], Callable[..., Minter], str]] = {
    "openai": (openai_server, OpenAIMinter, "/v1"),
    "openrouter": (openrouter_server, OpenRouterMinter, "/api/v1"),
    "litellm": (litellm_server, LiteLLMMinter, ""),
}
each = pytest.mark.parametrize("kind", SERVERS)


@contextlib.asynccontextmanager
async def bench(kind: str) -> AsyncIterator[tuple[Minter, Books, Faulty]]:
    serve, make, suffix = SERVERS[kind]
    books = Books()
    faulty = Faulty(serve(books))
    async with serving(faulty) as url:
        minter = make(SecretStr(SECRET), base_url=url + suffix, timeout_s=5)
        yield minter, books, faulty
        await minter.close()


def test_every_kind_is_tried_here() -> None:
    assert set(KINDS) == {*SERVERS, "aws", "sandbox"}


@each
async def test_a_credential_is_made_and_can_be_named_and_cut(kind: str) -> None:
    async with bench(kind) as (minter, books, _):
        made = await minter.mint(WANTED)
        [(ref, asked)] = books.made.items()
        assert asked["name"] == WANTED.name
        assert made.ref == (f"proj_shop/sa/{ref}" if kind == "openai" else ref)
        assert made.secret == made.seen_as
        assert made.secret.get_secret_value().startswith("sk-")
        assert made.secret.get_secret_value() not in repr(made)


@each
async def test_the_provider_holds_it_to_what_it_can(kind: str) -> None:
    async with bench(kind) as (minter, books, _):
        await minter.mint(WANTED)
        [asked] = books.made.values()
        assert (
            asked.items()
            >= {
                "openai": {"expires_in_seconds": 3600, "project": "proj_shop"},
                "openrouter": {"limit": 5.0, "limit_reset": "daily", "expires_at": "2026-11-23T11:00:00.000Z"},
                "litellm": {"max_budget": 5.0, "budget_duration": "1d", "duration": "3600s", "team_id": "proj_shop"},
            }[kind].items()
        )


@each
async def test_what_nobody_holds_is_found_by_its_name_and_deleted_and_nothing_else(kind: str) -> None:
    async with bench(kind) as (minter, books, _):
        await minter.mint(WANTED._replace(name="keyfuse-ads-r2"))
        await minter.mint(WANTED)
        await minter.discard(WANTED)
        assert [asked["name"] for asked in books.made.values()] == ["keyfuse-ads-r2"]
        assert "0" in await minter.discard(WANTED)


@each
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Misbehave(status=503), Retryable),
        (Misbehave(status=401), Refused),
        (Misbehave(status=403), Refused),
        (Misbehave(status=200, body=b"{}"), Retryable),
        (Misbehave(status=200, body=b"<html>"), Retryable),
    ],
)
async def test_a_failure_is_told_without_a_secret(kind: str, fault: Misbehave, error: type[ProviderError]) -> None:
    async with bench(kind) as (minter, _, faulty):
        faulty.faults.append(fault)
        with pytest.raises(error) as told:
            await minter.mint(WANTED)
        assert SECRET not in str(told.value)


@pytest.mark.parametrize("place", ["", "shop", "proj_shop/../x"])
async def test_openai_makes_nothing_outside_a_project(place: str) -> None:
    async with bench("openai") as (minter, books, _):
        with pytest.raises(Refused, match="no project of OpenAI"):
            await minter.mint(WANTED._replace(place=place))
        assert not books.made


async def test_aws_makes_a_key_of_a_user_and_never_guesses_which_to_delete() -> None:
    with mock_aws():
        minter = AwsMinter(SecretStr("AKIA0000000000000000:secret"))
        with pytest.raises(Refused) as unknown:
            await minter.mint(WANTED._replace(place="shop"))
        assert unknown.value.reason is Reason.UNKNOWN_KEY
        await minter._api.call("make the user", lambda iam: iam.create_user(UserName="shop"))  # what AWS has already
        made = await minter.mint(WANTED._replace(place="shop"))
        public, _, secret = made.secret.get_secret_value().partition(":")
        assert made.ref == f"iam/shop/{public}"
        assert made.seen_as.get_secret_value() == public
        assert secret
        with pytest.raises(Refused, match="delete it by hand"):
            await minter.discard(WANTED._replace(place="shop"))
        with pytest.raises(Refused, match="is no IAM user"):
            await minter.mint(WANTED._replace(place="no/user"))
        await minter.close()


async def test_the_sandbox_takes_calls_with_the_credential() -> None:
    app = create_sandbox(SecretStr(SECRET))
    async with serving(Faulty(app)) as url:
        minter = SandboxMinter(SecretStr(SECRET), base_url=url)
        made = await minter.mint(WANTED)
        assert app.state.sandbox.admit_credential(f"Bearer {made.secret.get_secret_value()}") == 200
        assert "nothing" in await minter.discard(WANTED)
        await minter.close()
