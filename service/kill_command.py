"""`keyfuse kill`: many keys at once, by a person, in an emergency. The list, then a typed word, then the truth."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from rich.console import Console

from alerting.words import STATE_WORDS, clean
from containment.kill import Wanted, check_wanted, means_it, select
from schemas.records import KeyFacts, Outcome, Request, StepState
from service.errors import UserError
from service.install import Install, wall_ms
from service.kill_list import Order, line, order_for
from service.query_commands import ask
from service.request_commands import bootstrap_of, known_facts, speaker
from streams.errors import BrokerDown
from streams.kafka import producer, wait_for_broker
from streams.newest import newest
from streams.outbox import Outbox
from streams.topics import Topic, Topics

_LOOK_BACK_H: Final = 24 * 90
_CLOCKS_DIFFER_MS: Final = 60_000
# Nothing caps or freezes what a person orders, so a refusal that is heard meanwhile is of another order.
_ENDS: Final = frozenset({StepState.CONFIRMED, StepState.IRREVOCABLE, StepState.AWAITING_APPROVAL})


@dataclass(frozen=True)
class Said:
    """What the person wants and how sure of it they are."""

    wanted: Wanted
    revoke: bool
    wider: bool
    mean: int | None  # how many keys, said beforehand; None: asked for at the terminal
    reason: str
    by: str
    wait_s: float


def kill(config: Path, said: Said, *, read: Callable[[str], str], out: Console) -> int:
    """Cut the keys and wait until each has ended; 0 when every key of the list is seen to be cut, else 1."""
    install = Install.open(config)
    by = speaker(install, said.by, "contain", final=said.revoke)
    listed = orders(config, install, said, out=out)
    out.print("\n".join(line(order) for order in listed), markup=False)
    going = [order for order in listed if order.cut.step is not None]
    if not going:
        raise UserError("none of these keys can be cut like this; each line above says what can be done")
    bootstrap = bootstrap_of(install)  # before anybody types: without a broker there is nothing to confirm
    _confirm(said.mean, len(going), read)
    requests = [_request(order, said.reason, by) for order in going]
    ended = _carry_out(install.topics, bootstrap, requests, going, wait_s=said.wait_s, out=out)
    cut = sum(outcome.state is StepState.CONFIRMED for outcome in ended.values())
    for order in going:
        if order.key_id not in ended:
            out.print(f"{clean(order.key_id)}: ordered, nothing heard in {said.wait_s:g} s", markup=False)
    out.print(f"{cut} of {len(listed)} keys are cut, seen at the provider; `keyfuse incidents` has the rest")
    return 0 if cut == len(listed) else 1


def orders(config: Path, install: Install, said: Said, *, out: Console) -> list[Order]:
    """The list. UserError when nothing is selected, or a named key is unknown."""
    try:
        check_wanted(said.wanted)
        known = {} if said.wanted.keys else _known(config, install, out)
        names = select(said.wanted, known)
    except ValueError as error:
        raise UserError(str(error)) from error
    found = {name: known.get(name) or known_facts(config, install, name) for name in names}
    lost = [name for name, facts in found.items() if facts is None]
    if lost:
        raise UserError(f"nobody can say what {', '.join(lost)} is: write it into keys.yaml, with its provider")
    return [
        order_for(install, name, facts, revoke=said.revoke, wider=said.wider)
        for name, facts in found.items()
        if facts is not None
    ]


def _known(config: Path, install: Install, out: Console) -> dict[str, KeyFacts]:
    """All keys by what is known of them; what is written is stronger than what was seen."""
    used: dict[str, KeyFacts] = {}
    try:
        for row in ask(config, "keys", {"hours": _LOOK_BACK_H, "limit": 1_000_000}):
            used[row["key_id"]] = KeyFacts.model_validate(
                {name: row[name] for name in ("provider", "team", "app", "env")}
            )
    except UserError as error:
        out.print(f"only keys of keys.yaml are looked at: {error}", markup=False)
    return {**used, **install.registry.all_facts()}


def _confirm(mean: int | None, keys: int, read: Callable[[str], str]) -> None:
    """UserError unless the person means exactly so many keys."""
    if mean is not None:
        if mean != keys:
            raise UserError(f"--yes-i-mean {mean}, but {keys} keys would be cut: nothing was done")
        return
    try:
        typed = read(f"Type `{keys} kill` to cut {keys} {'key' if keys == 1 else 'keys'}: ")
    except EOFError as error:
        raise UserError(f"nobody is here to be asked: give --yes-i-mean {keys}; nothing was done") from error
    if not means_it(typed, keys):
        raise UserError("that was not it: nothing was done")


def _request(order: Order, reason: str, by: str) -> Request:
    return Request(
        request_id=uuid.uuid4().hex, at_ms=wall_ms(), by=by, action="contain", key_id=order.key_id,
        step=order.cut.step, reason=reason or "emergency kill", facts=order.facts,
    )  # fmt: skip


def _carry_out(
    topics: Topics, bootstrap: str, requests: Sequence[Request], going: Sequence[Order], *, wait_s: float, out: Console
) -> Mapping[str, Outcome]:
    several = {order.key_id for order in going if order.people > 1}
    count = 0

    def tell(outcome: Outcome) -> None:
        nonlocal count
        count += 1
        out.print(f"[{count}/{len(going)}] {_outcome_words(outcome)}", markup=False)

    out.print(f"ordered {len(going)}; waiting up to {wait_s:g} s", markup=False)
    try:
        return asyncio.run(_order_and_hear(topics, bootstrap, requests, several, wait_s=wait_s, tell=tell))
    except BrokerDown as error:
        raise UserError(f"{error}; nothing was ordered: cut the keys at their providers by hand") from error
    except KafkaError as error:
        raise UserError(f"the broker stopped answering ({error}); look at `keyfuse incidents` and ask again") from error


def _outcome_words(outcome: Outcome) -> str:
    took = outcome.seconds_to_effective
    after = f", seen after {took:.1f} s" if took is not None else ""
    detail = f": {clean(outcome.detail)}" if outcome.detail else ""
    return f"{clean(outcome.key_id)}: {outcome.step} {STATE_WORDS[outcome.state]}{after}{detail}"


async def _order_and_hear(
    topics: Topics, bootstrap: str, requests: Sequence[Request], several: set[str], *, wait_s: float,
    tell: Callable[[Outcome], None],
) -> dict[str, Outcome]:  # fmt: skip
    await wait_for_broker(bootstrap, timeout_s=5)
    sender = producer(bootstrap)
    await sender.start()
    try:
        # Listening begins before the order goes out: a sandbox cuts within milliseconds.
        async with newest(bootstrap, topics.name(Topic.OUTCOMES), topics.count(Topic.OUTCOMES)) as reader:
            await Outbox(sender, topics).send(Topic.REQUESTS, [(request.key_id, request) for request in requests])
            return await _hear(reader, requests, several, wait_s=wait_s, tell=tell)
    finally:
        await sender.stop()


async def _hear(
    reader: AIOKafkaConsumer, requests: Sequence[Request], several: set[str], *, wait_s: float,
    tell: Callable[[Outcome], None],
) -> dict[str, Outcome]:  # fmt: skip
    """By key, how its order ended; without those that did not within the time."""
    asked = {request.key_id: request for request in requests}
    ended: dict[str, Outcome] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            while len(ended) < len(asked):
                for records in (await reader.getmany(timeout_ms=200)).values():
                    for outcome in filter(None, map(_outcome, records)):
                        if outcome.key_id not in ended and is_end(outcome, asked, several):
                            ended[outcome.key_id] = outcome
                            tell(outcome)
    return ended


def is_end(outcome: Outcome, asked: Mapping[str, Request], several: set[str]) -> bool:
    """Whether this is how the order of a key ended; `several`: keys whose step needs more than one person."""
    request = asked.get(outcome.key_id)
    if request is None or request.step != outcome.step or outcome.state not in _ENDS:
        return False
    if outcome.at_ms < request.at_ms - _CLOCKS_DIFFER_MS:  # a copy of an earlier order is answered as that one ended
        return False
    # With one person needed, who has ordered it, what waits for an approval is an order of Keyfuse's own.
    return outcome.state is not StepState.AWAITING_APPROVAL or outcome.key_id in several


def _outcome(record: Any) -> Outcome | None:  # noqa: ANN401 - a record of aiokafka
    """None for what is no outcome: somebody else's mistake must not end the waiting."""
    try:
        return Outcome.from_bytes(record.value)
    except ValueError:
        return None
