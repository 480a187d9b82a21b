"""Benches of the clouds: one for each form of reference, for each has steps of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from pydantic import SecretStr

from containment.providers.aws import AwsProvider
from containment.providers.base import Provider
from containment.providers.google import GoogleProvider
from tests.containment.bench import SECRET, Bench, over_http
from tests.containment.servers import aws, google
from tests.containment.servers.serve import Faulty, serving

MakeBench = Callable[[], AbstractAsyncContextManager[Bench]]


async def at_once(pause_s: float) -> None:
    """A pause for the tests."""
    await asyncio.sleep(0)


def aws_bench(name: str, ref: Callable[[aws.World], str], unknown: str) -> MakeBench:
    @contextlib.asynccontextmanager
    async def bench() -> AsyncIterator[Bench]:
        with aws.account(SECRET) as world:

            def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
                own = SecretStr(f"{world.own_id}:{secret.get_secret_value()}")
                return AwsProvider(name, own, base_url=url, timeout_s=timeout_s)

            async with over_http(aws.App(), make, ref(world), unknown, layer=aws.FaultyQueries) as bench:
                yield bench

    return bench


def google_bench(name: str, ref: str, unknown: str) -> MakeBench:
    @contextlib.asynccontextmanager
    async def bench() -> AsyncIterator[Bench]:
        # The token is the bench's secret: it is what Google gets to see and could quote.
        async with serving(Faulty(google.create_tokens(SECRET, SECRET))) as tokens:

            def make(secret: SecretStr, url: str, timeout_s: float) -> Provider:
                key_file = SecretStr(google.key_file(secret.get_secret_value(), tokens))
                return GoogleProvider(name, key_file, base_url=url, timeout_s=timeout_s, sleep=at_once)

            async with over_http(google.create(google.Project(SECRET)), make, ref, unknown) as bench:
                yield bench

    return bench


CLOUDS: dict[str, MakeBench] = {
    "aws/iam": aws_bench("aws/iam", lambda world: f"iam/shop/{world.access_key}", "iam/shop/AKIAEXAMPLEUNKNOWN23"),
    "aws/bedrock": aws_bench(
        "aws/bedrock", lambda world: f"bedrock/shop/{world.bedrock_key}", "bedrock/x/ACCAEXAMPLEUNKNOWN2"
    ),
    "aws/role": aws_bench("aws/role", lambda _: "role/shop", "role/nobody"),
    "aws/user": aws_bench("aws/user", lambda _: "user/shop", "user/nobody"),
    "google/key": google_bench("google/key", google.API_KEY, "projects/shop/locations/global/keys/unknown"),
    "google/account": google_bench("google/account", google.ACCOUNT_KEY, google.ACCOUNT_KEY + "0"),
}
