"""Secrets Manager as a switch: only labels move, and only from where they were seen."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from containment.providers.errors import Reason, Refused, Retryable
from containment.switches.aws_secrets import AwsSecretsSwitch
from containment.switches.base import Turn
from tests.containment.bench import SECRET
from tests.containment.servers import aws_secrets
from tests.containment.servers.serve import Faulty, serving

TURN = Turn("k1", "k2", aws_secrets.SECRET_ID, "BACKUP")


@contextlib.asynccontextmanager
async def switch(region: str = aws_secrets.REGION) -> AsyncIterator[tuple[AwsSecretsSwitch, aws_secrets.World, Faulty]]:
    with aws_secrets.account(SECRET, ("old", "new")) as world:
        faulty = aws_secrets.FaultyTargets(aws_secrets.app)
        async with serving(faulty) as url:
            own = SecretStr(f"{world.own_id}:{SECRET}")
            made = AwsSecretsSwitch("aws", own, base_url=url, region=region)
            yield made, world, faulty
            await made.close()


async def test_no_value_is_ever_asked_for() -> None:
    async with switch() as (aws, world, faulty):
        before = await aws.snapshot(TURN)
        await aws.apply(TURN)
        assert world.in_use() == "new"
        await aws.undo(TURN, before)
        assert world.in_use() == "old"
        assert {path for _, path in faulty.requests} == {"/DescribeSecret", "/UpdateSecretVersionStage"}


async def test_a_rotation_meanwhile_is_not_undone() -> None:
    """Nobody asks for the undo then: the place does not say the backup any more."""
    async with switch() as (aws, world, _):
        await aws.apply(TURN)
        world.rotate("rotated")
        assert (await aws.in_effect(TURN)).state == "no"
        assert world.in_use() == "rotated"


async def test_a_rotation_at_the_same_moment_is_looked_at_and_tried_again() -> None:
    async with switch() as (aws, world, _):
        current, standby = await aws._versions(TURN)
        world.rotate("rotated")
        with pytest.raises(Retryable, match="somebody else moved it"):
            await aws._move(TURN, current, standby)
        await aws.apply(TURN)
        assert world.in_use() == "new"


async def test_another_region_is_a_setting() -> None:
    async with switch("us-west-2") as (aws, _, _faulty):
        with pytest.raises(Refused) as caught:
            await aws.snapshot(TURN)
        assert caught.value.reason is Reason.UNKNOWN_KEY
