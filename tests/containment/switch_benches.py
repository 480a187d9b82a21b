"""One bench per kind of switch: a key's users at one place, and a server (or the fake) that misbehaves on order."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr
from starlette.types import ASGIApp

from containment.providers.errors import by_status
from containment.signed import SignedHook
from containment.switches.aws_secrets import AwsSecretsSwitch
from containment.switches.base import Switch, Turn
from containment.switches.memory import MemorySwitch
from containment.switches.vault import VaultSwitch
from containment.switches.webhook import WebhookSwitch
from tests.containment.bench import SECRET, TIMEOUT_S
from tests.containment.servers import aws_secrets, switchboard, vault_kv
from tests.containment.servers.serve import Faulty, IsChange, Misbehave, is_change, serving

OLD, NEW = "sk-proj-oldoldoldoldoldold", "sk-proj-newnewnewnewnewnew"
SIGNING = "whsec_" + "cGxhaW5seS1zZWNyZXQtMDEyMzQ1Njc4OQ=="


class Another(Protocol):
    def __call__(self, *, secret: str = "", timeout_s: float = TIMEOUT_S) -> Switch: ...


@dataclass
class Bench:
    """What the contract suite needs of a switch."""

    switch: Switch
    turn: Turn
    nowhere: tuple[Turn, ...]  # turns whose place, or whose standby, is not there
    uses: Callable[[], str]  # what the users get, as they see it
    fault: Callable[[Misbehave], None]
    changes: Callable[[], int]
    another: Another
    secret: str = SECRET
    blind: bool = False  # whether the backup is in use cannot be seen until it was told
    impatient_s: float = 0.2


@contextlib.asynccontextmanager
async def over_http(
    app: ASGIApp, make: Callable[[SecretStr, str, float], Switch], turn: Turn, nowhere: tuple[Turn, ...],
    uses: Callable[[], str], *, suffix: str = "", secret: str = SECRET, layer: type[Faulty] = Faulty,
    changing: IsChange = is_change, blind: bool = False,
) -> AsyncIterator[Bench]:  # fmt: skip
    faulty = layer(app, is_change=changing)
    async with serving(faulty) as url, contextlib.AsyncExitStack() as closing:

        def another(*, secret: str = secret, timeout_s: float = TIMEOUT_S) -> Switch:
            switch = make(SecretStr(secret), url + suffix, timeout_s)
            closing.push_async_callback(switch.close)
            return switch

        def changes() -> int:
            return sum(changing(method, path) for method, path in faulty.requests)

        yield Bench(another(), turn, nowhere, uses, faulty.faults.append, changes, another, secret, blind)


@contextlib.asynccontextmanager
async def vault() -> AsyncIterator[Bench]:
    def make(secret: SecretStr, url: str, timeout_s: float) -> Switch:
        return VaultSwitch("vault", secret, base_url=url, timeout_s=timeout_s)

    shop = {"api_key": OLD, "database": "db.example.com"}
    store = vault_kv.Store(
        {"shop/openai": [{"api_key": "older"}, shop], "shop/spare": [{"api_key": NEW}], "gone": [None]}
    )
    turn = Turn("k1", "k2", "shop/openai", "shop/spare")
    nowhere = tuple(turn._replace(**{name: path}) for name in ("secret", "standby") for path in ("gone", "shop/typo"))

    def uses() -> str:
        now = store.now("shop/openai") or {}
        assert now["database"] == "db.example.com"
        return str(now["api_key"])

    async with over_http(vault_kv.create(SECRET, store), make, turn, nowhere, uses) as bench:
        yield bench


@contextlib.asynccontextmanager
async def secrets_manager() -> AsyncIterator[Bench]:
    with aws_secrets.account(SECRET, (OLD, NEW)) as world:

        def make(secret: SecretStr, url: str, timeout_s: float) -> Switch:
            own = SecretStr(f"{world.own_id}:{secret.get_secret_value()}")
            return AwsSecretsSwitch("aws", own, base_url=url, region=aws_secrets.REGION, timeout_s=timeout_s)

        turn = Turn("k1", "k2", aws_secrets.SECRET_ID, "BACKUP")
        nowhere = (turn._replace(secret="prod/shop/typo"), turn._replace(standby="TYPO"))
        layer = aws_secrets.FaultyTargets
        async with over_http(aws_secrets.app, make, turn, nowhere, world.in_use, layer=layer) as bench:
            yield bench


def webhook(*, tells: bool) -> Callable[[], contextlib.AbstractAsyncContextManager[Bench]]:
    @contextlib.asynccontextmanager
    async def bench() -> AsyncIterator[Bench]:
        def make(secret: SecretStr, url: str, timeout_s: float) -> Switch:
            return WebhookSwitch("deploys", SignedHook(secret, base_url=url, timeout_s=timeout_s))

        board = switchboard.Switchboard({"k1": "k1"}, tells=tells)
        turn = Turn("k1", "k2", "", "")

        def uses() -> str:
            return {"k1": OLD, "k2": NEW}[board.using["k1"]]

        async with over_http(
            switchboard.create(SIGNING, board), make, turn, (turn._replace(key_id="k9"),), uses, suffix="/use",
            secret=SIGNING, layer=switchboard.ByAction, changing=lambda _, path: path.endswith("/switch"),
            blind=not tells,
        ) as bench:  # fmt: skip
            yield bench

    return bench


@contextlib.asynccontextmanager
async def memory() -> AsyncIterator[Bench]:
    switch = MemorySwitch("memory", {"shop": OLD, "spare": NEW})
    turn = Turn("k1", "k2", "shop", "spare")

    def fault(wanted: Misbehave) -> None:
        error = by_status(408 if wanted.hang else 502 if wanted.status < 300 else wanted.status, "call", "")
        switch.faults.append(error)

    def another(*, secret: str = SECRET, timeout_s: float = TIMEOUT_S) -> Switch:
        if secret == SECRET:
            return switch
        stranger = MemorySwitch("memory", dict(switch.secrets))
        stranger.faults.extend([by_status(401, "call", "")] * 9)
        return stranger

    def changes() -> int:
        return sum(call in {"apply", "undo"} for call in switch.calls)

    nowhere = (turn._replace(secret="typo"), turn._replace(standby="typo"))
    yield Bench(switch, turn, nowhere, lambda: switch.secrets["shop"], fault, changes, another)


BENCHES: dict[str, Callable[[], contextlib.AbstractAsyncContextManager[Bench]]] = {
    "vault": vault, "aws_secrets": secrets_manager, "webhook": webhook(tells=True),
    "webhook/blind": webhook(tells=False), "memory": memory,
}  # fmt: skip
