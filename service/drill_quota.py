"""`keyfuse drill quota`: an app's budget in small, in a gate of its own, walked to the end over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, NamedTuple

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from controls.budgets import Budgets, period_of
from controls.registry import Registry
from gate.budgets import AloneSlices
from gate.check import PATH
from gate.checks import Checks
from gate.decide import Decider, Planes
from gate.http import Listener
from gate.known import Known
from gate.ports import Amount, Reached
from gate.reservations import Reservations
from gate.server import Edge, GateServer
from gate.unpriced import counted_at
from schemas.config.budgets import BudgetConfig, BudgetsConfig
from schemas.spend import BudgetStatus
from service.clocks import steady_ms
from service.config_tree import Folder
from service.errors import UserError
from service.gate_planes import planes_of
from service.install import wall_ms
from service.issued import open_all
from sources.price_list import dearest_of
from sources.pricing import PriceBook

_SECRET: Final = "sk-drill"  # noqa: S105 - opens nothing
_QUESTION: Final = "Is anybody there?"
_MOST: Final = 5000


class Got(NamedTuple):
    """What the client was answered."""

    number: int
    status: int
    retry_after: str
    model: str
    message: str


class Drill(NamedTuple):
    """What came of it."""

    budget: BudgetConfig
    first: Got
    degraded: Got | None
    stopped: Got | None
    passed: int


def main(config: Path, *, app: str, model: str, calls: int) -> None:
    """UserError where the app has no key, or no budget that stops it."""
    install, said = open_all(config)
    if said:
        Console().print(said, markup=False)
    show(asyncio.run(walk(install.folder, install.registry, app=app, model=model, calls=calls)), app)


async def walk(folder: Folder, registry: Registry, *, app: str, model: str, calls: int) -> Drill:
    """Call until the stop, with the app's first key that is served: those of `keys.yaml` come first. The budget is as
    written, with an amount into which so many calls fit.
    """
    key = next((key for key in registry.entries().values() if key.app == app and key.served(wall_ms())), None)
    if key is None:
        raise UserError(f"no key of app {app} is served: name one of {_apps(registry)}")
    facts = key.facts()
    stops = [each for each in Budgets(folder.budgets).covering(key.key_id, facts) if each.hard_stop]
    if not stops:
        raise UserError(f"no budget with hard_stop covers app {app}: it would never be stopped")
    gate = folder.wiring.gate
    rates = PriceBook().per_token(facts.provider, model, wall_ms())
    rates = rates or counted_at(gate, facts.env, dearest_of(facts.provider))
    one = Amount(1, gate.max_output_tokens, round(gate.max_output_tokens * rates[1]))
    budget = _small(stops[0], one, calls)
    known = Known(registry)
    base = planes_of(folder, at_ms=wall_ms())
    planes = Planes(base.policies, Budgets(BudgetsConfig(budgets=(budget,))), gate)
    decider = Decider(
        known, planes, slices=AloneSlices(known.status), reach=Reached(), prices=PriceBook().per_token,
        dearest=dearest_of, reservations=Reservations("drill-", hold_ms=10**9),
    )  # fmt: skip
    edge = Edge(decider, lambda _: key.key_id, wall_ms, steady_ms, None, list, bytes)
    server = GateServer(edge)
    listener = Listener(server)
    server.beneath(PATH.encode(), Checks(edge, hold_ms=10**9).answer)
    url = await listener.start()
    try:
        return await _walk(url, budget, known, model=model, one=one)
    finally:
        await listener.stop()


async def _walk(url: str, budget: BudgetConfig, known: Known, *, model: str, one: Amount) -> Drill:
    seen: list[Got] = []
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        for number in range(1, _MOST):
            body = {"model": model, "messages": [{"role": "user", "content": _QUESTION}]}
            answer = await http.post(
                f"{PATH}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {_SECRET}"}
            )
            seen.append(_got(number, answer))
            if answer.status_code != 200:
                break
            known.stands(_status(budget, number, one))
    passed = [got for got in seen if got.status == 200]
    stopped = seen[-1] if seen[-1].status != 200 else None
    return Drill(budget, seen[0], next((got for got in passed if got.model), None), stopped, len(passed))


def show(drill: Drill, app: str) -> None:
    table = Table("call", "status", "retry-after", "model instead", "what the client is told")
    for got in (drill.first, drill.degraded, drill.stopped):
        if got is not None:
            table.add_row(str(got.number), str(got.status), got.retry_after, escape(got.model), escape(got.message))
    console = Console()
    console.print(f"{app} under budget {escape(drill.budget.name)}, in small, apart from the real one", style="bold")
    console.print(table)
    end = "and was never stopped" if drill.stopped is None else "then it was stopped"
    console.print(f"{drill.passed} calls passed, {end}. Nothing was spent.")


def _got(number: int, answer: httpx.Response) -> Got:
    told = answer.headers
    message = answer.text
    if answer.headers.get("content-type", "").startswith("application/json") and answer.content:
        found = answer.json()
        error = found.get("error", found)
        message = error.get("message", message) if isinstance(error, dict) else str(error)
    return Got(number, answer.status_code, told.get("retry-after", ""), told.get("x-keyfuse-model", ""), message)


def _small(budget: BudgetConfig, one: Amount, calls: int) -> BudgetConfig:
    """The same budget, into which so many calls fit."""
    usd = None if budget.usd is None or not one.nano_usd else one.nano_usd * (calls + 0.5) / 1e9
    tokens = None if budget.tokens is None and usd is not None else round(one.tokens * (calls + 0.5))
    return budget.model_copy(update={"usd": usd, "tokens": tokens})


def _status(budget: BudgetConfig, calls: int, one: Amount) -> BudgetStatus:
    """As the desk would say it after so many calls: cheaper models from where the budget says."""
    span, spent = period_of(budget.period, wall_ms()), Amount(calls, calls * one.tokens, calls * one.nano_usd)
    limit = None if budget.usd is None else round(budget.usd * 1e9)
    share = 100 * max(spent.nano_usd / limit if limit else 0, spent.tokens / budget.tokens if budget.tokens else 0)
    tight = budget.degrade if budget.degrade is not None and share >= budget.degrade.at_percent else None
    return BudgetStatus(
        budget=budget.name, scope="drill", at_ms=wall_ms(), period=span.name, period_from_ms=span.from_ms,
        period_until_ms=span.until_ms, level="degraded" if tight else "ok", spent_nano_usd=0, spent_tokens=0,
        limit_nano_usd=limit, limit_tokens=budget.tokens, degrade=tight.models if tight else {},
        reason=f"budget {budget.name} is at {share:.0f} %: cheaper models are in force",
    )  # fmt: skip


def _apps(registry: Registry) -> str:
    served = {key.app for key in registry.entries().values() if key.served(wall_ms())}
    return ", ".join(sorted(served)) or "those that you register first"
