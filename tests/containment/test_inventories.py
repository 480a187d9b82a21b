"""Lists of keys from each kind of provider that has one: all pages, no secret, and a clear word when it goes wrong."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from containment.inventories.base import Inventory
from containment.inventories.build import KINDS, build_inventory
from containment.providers.errors import ProviderError
from controls.inventory import Listed
from schemas.config.wiring import ProviderConfig
from tests.containment.servers import aws, inventories
from tests.containment.servers.inventories import SECRET
from tests.containment.servers.serve import Faulty, Misbehave, body, serving

HASHES = [f"{digit}" * 64 for digit in "abcde"]
PATHS = {"openai": "/v1", "openrouter": "/api/v1"}
SERVERS: dict[str, Callable[[], Faulty]] = {
    "openai": lambda: inventories.openai(
        {"proj_a": ["key_1", "key_2", "key_3sa"], "proj_b": [], "proj_c": ["key_off"]}
    ),
    "anthropic": lambda: inventories.anthropic({"apikey_1": "active", "apikey_2": "archived", "apikey_3": "inactive"}),
    "openrouter": lambda: inventories.openrouter([*HASHES, "f" * 61 + "off"], page_size=2),
    "litellm": lambda: inventories.litellm(HASHES),
}
REFS = {
    "openai": {"proj_a/key_1": True, "proj_a/key_2": True, "proj_a/key_3sa": True, "proj_c/key_off": False},
    "anthropic": {"apikey_1": True, "apikey_3": False},
    "openrouter": {**dict.fromkeys(HASHES, True), "f" * 61 + "off": False},
    "litellm": dict.fromkeys(HASHES, True),
}


@asynccontextmanager
async def asked(kind: str, server: Faulty, *, secret: str = SECRET) -> AsyncIterator[Inventory]:
    async with serving(server) as url:
        config = ProviderConfig(kind=kind, base_url=url + PATHS.get(kind, ""))
        inventory = build_inventory("here", config, SecretStr(secret), timeout_s=2)
        try:
            yield inventory
        finally:
            await inventory.close()


def test_each_kind_is_tested() -> None:
    assert {*SERVERS, "aws"} == set(KINDS)


@pytest.mark.parametrize("kind", SERVERS)
async def test_all_pages_are_read_and_each_key_is_there_once(kind: str) -> None:
    async with asked(kind, SERVERS[kind]()) as inventory:
        listed = await inventory.listed()
    assert {key.provider_ref: key.active for key in listed} == REFS[kind]
    assert len(listed) == len(REFS[kind])
    assert all(key.name == "checkout" for key in listed)
    assert all(key.created_ms for key in listed)


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_wrong_admin_key_is_told_without_repeating_it(kind: str) -> None:
    async with asked(kind, SERVERS[kind](), secret="not-the-admin-key") as inventory:
        with pytest.raises(ProviderError) as refused:
            await inventory.listed()
    assert "the admin key is wrong or expired" in str(refused.value)
    assert "not-the-admin-key" not in str(refused.value)


@pytest.mark.parametrize("kind", SERVERS)
async def test_an_answer_that_makes_no_sense_is_no_empty_list(kind: str) -> None:
    server = SERVERS[kind]()
    server.faults.append(Misbehave(200, body({"hello": "world"})))
    async with asked(kind, server) as inventory:
        with pytest.raises(ProviderError):
            await inventory.listed()


async def test_who_made_a_key_and_where() -> None:
    async with asked("openai", SERVERS["openai"]()) as inventory:
        by_id = {key.key_id: key for key in await inventory.listed()}
    assert by_id["key_1"] == Listed(
        "proj_a/key_1", "key_1", "checkout", "a production", "ann@example.com", True, 1_711_471_533_000, None,
        1_711_471_600_000, "wxyz",
    )  # fmt: skip
    assert by_id["key_3sa"].owner == "nightly"


async def test_aws_lists_every_users_access_and_bedrock_keys() -> None:
    with aws.account("the-secret") as world:
        actions = ["iam:ListUsers", "iam:ListAccessKeys", "iam:ListServiceSpecificCredentials"]
        allow = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        world.iam.put_user_policy("keyfuse", "inventory", json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
        async with asked("aws", Faulty(aws.App()), secret=f"{world.own_id}:the-secret") as inventory:
            listed = {key.provider_ref: key for key in await inventory.listed()}
        assert set(listed) == {
            f"iam/keyfuse/{world.own_id}", f"iam/shop/{world.access_key}", f"bedrock/shop/{world.bedrock_key}"
        }  # fmt: skip
        assert listed[f"bedrock/shop/{world.bedrock_key}"].active


async def test_aws_without_the_right_to_list_users_says_so() -> None:
    with aws.account("the-secret") as world:
        async with asked("aws", Faulty(aws.App()), secret=f"{world.own_id}:the-secret") as inventory:
            with pytest.raises(ProviderError, match=r"list the users: .*permission"):
                await inventory.listed()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ProviderConfig(kind="vault", base_url="http://x"), "vault has no list of keys to import; anthropic, aws"),
        (ProviderConfig(kind="litellm"), "base_url is missing"),
        (ProviderConfig(kind="openai"), "the admin key is missing"),
    ],
)
def test_what_cannot_be_asked_is_told_in_the_users_words(config: ProviderConfig, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_inventory("here", config, None, timeout_s=1)
