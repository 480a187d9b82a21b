"""One credential for one order, whatever fails on the way, and none left that nobody holds."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from containment.mint import Tools, mint
from containment.minters.base import Made, Wanted
from containment.providers.errors import ProviderError, Reason, Refused, Retryable
from containment.sealing import new_reader, seal, unseal
from schemas.config.responses import RetryConfig
from schemas.minting import Minted, MintOrder

T0 = 1_795_428_000_000
PRIVATE, PUBLIC = new_reader()
AWAY, FORBIDDEN = Retryable(Reason.TIMEOUT, "no answer in time"), Refused(Reason.FORBIDDEN, "the admin key may not")


def order(**changes: object) -> MintOrder:
    fields = {
        "request_id": "r1", "key_id": "ask:r1", "at_ms": T0, "by": "bob", "provider": "openai", "place": "proj_1",
        "name": "keyfuse-search-r1", "usd_per_day": 5.0, "expires_ms": T0 + 60_000_000, "seal_to": PUBLIC,
    }  # fmt: skip
    return MintOrder.model_validate({**fields, **changes})


class FakeMinter:
    """Keeps what it made; fails as it is told, after it has done the work where that is marked."""

    def __init__(self, *faults: ProviderError | None, after: bool = False, blind: bool = False) -> None:
        self.faults, self.after, self.blind = list(faults), after, blind
        self.held: list[str] = []
        self.made = 0
        self.wanted: Wanted | None = None

    async def mint(self, wanted: Wanted) -> Made:
        self.wanted = wanted
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and not self.after:
            raise fault
        self.made += 1
        secret = SecretStr(f"sk-secret-{self.made}")
        self.held.append(secret.get_secret_value())
        if fault is not None:
            raise fault
        return Made(secret, f"ref-{self.made}", secret)

    async def discard(self, wanted: Wanted) -> str:
        if self.blind:
            raise Refused(Reason.NOT_SUPPORTED, "delete it by hand")
        self.held.clear()
        return "done"

    async def close(self) -> None:
        """Nothing is open."""


class Run:
    def __init__(self) -> None:
        self.begun, self.pauses = 0, list[float]()

    async def __call__(self, minter: FakeMinter, *, begun: bool = False) -> Minted:
        async def begin() -> None:
            self.begun += 1

        async def sleep(pause_s: float) -> None:
            self.pauses.append(pause_s)

        retry = RetryConfig(attempts=3, wait_initial_s=1, wait_max_s=10)
        tools = Tools(retry, lambda: T0, sleep, lambda secret: f"fp1:{secret}")
        return await mint(order(), minter, begun=begun, begin=begin, tools=tools)


async def test_it_is_made_and_sealed_to_whoever_asked() -> None:
    minter, run = FakeMinter(), Run()
    minted = await run(minter)
    assert (minted.key_id, minted.provider_ref, minted.error) == ("fp1:sk-secret-1", "ref-1", "")
    assert unseal(minted.sealed, PRIVATE, "r1").get_secret_value() == "sk-secret-1"
    assert minter.wanted == Wanted("keyfuse-search-r1", "proj_1", 5.0, T0 + 60_000_000, 60_000)
    assert (run.begun, run.pauses) == (1, [])


@pytest.mark.parametrize("after", [False, True])
async def test_a_failure_that_may_pass_is_tried_again_and_leaves_one(after: bool) -> None:
    minter, run = FakeMinter(AWAY, AWAY, after=after), Run()
    minted = await run(minter)
    assert minter.held == [unseal(minted.sealed, PRIVATE, "r1").get_secret_value()]
    assert run.pauses == [1, 2]


async def test_what_a_run_that_died_had_made_is_deleted_first() -> None:
    minter = FakeMinter()
    minter.held = ["sk-of-a-dead-run"]
    minted = await Run()(minter, begun=True)
    assert minter.held == [unseal(minted.sealed, PRIVATE, "r1").get_secret_value()]


@pytest.mark.parametrize(
    ("minter", "begun", "words"),
    [
        (FakeMinter(FORBIDDEN), False, "the admin key may not"),
        (FakeMinter(AWAY, AWAY, AWAY, after=True), False, "no answer in time, 3 times"),
        (FakeMinter(blind=True), True, "delete it by hand"),
        (FakeMinter(AWAY, blind=True), False, "delete it by hand"),
    ],
)
async def test_what_cannot_be_made_is_told_and_nothing_is_left(minter: FakeMinter, begun: bool, words: str) -> None:
    minted = await Run()(minter, begun=begun)
    assert words in minted.error
    assert not minted.sealed
    assert minter.held == []


def test_only_the_reader_opens_it_and_only_for_this_request() -> None:
    sealed, other = seal(SecretStr("sk-1"), PUBLIC, "r1"), new_reader()[0]
    for private, about, text in ((other, "r1", sealed), (PRIVATE, "r2", sealed), (PRIVATE, "r1", sealed[:-2] + "00"),
                                 (PRIVATE, "r1", ""), (PRIVATE, "r1", "zz")):  # fmt: skip
        with pytest.raises(ValueError, match="sealed to somebody else"):
            unseal(text, private, about)
    assert "sk-1" not in repr(unseal(sealed, PRIVATE, "r1"))
