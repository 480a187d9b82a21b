"""`keyfuse budgets`: where each budget stands, as the desk told it last."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from alerting.words import bar, clean, counted, usd
from controls.budget_levels import NANO, share_of
from controls.budgets import QUOTA, as_told, is_rolling, scope_of
from schemas.config.budgets import BudgetConfig
from schemas.records import rfc3339
from schemas.spend import BudgetLevel, BudgetStatus, DegradeSum
from service.config_errors import did_you_mean
from service.errors import UserError
from service.install import Install, wall_ms
from service.newest_of import newest_of
from streams.topics import Topic

_WORDS: Final[dict[BudgetLevel, str]] = {
    "ok": "fine", "soft": "tight", "projected": "will not last", "degraded": "cheaper models",
    "stopped": "used up: gates refuse",
}  # fmt: skip
_HOUR_MS: Final = 3_600_000
_STYLE: Final[dict[BudgetLevel, str]] = {
    "ok": "green", "soft": "yellow", "projected": "yellow", "degraded": "yellow", "stopped": "red",
}  # fmt: skip


def budgets(config: Path, name: str, *, quotas: bool, as_json: bool, out: Console) -> None:
    """All budgets of the folder, or one, with what the desk knows of them."""
    install = Install.open(config)
    told, moved = read(install)
    wanted = _wanted(install, told, name, quotas=quotas)
    if not wanted:
        raise UserError("budgets.yaml has no budgets; docs/planes.md shows one")
    now_ms = wall_ms()
    current = {each.name: _current(each, told.get(each.name), now_ms) for each in wanted}
    wanted = [as_told(each, current[each.name]) for each in wanted]
    if as_json:
        for each in wanted:
            status = current[each.name]
            saved = saved_by(each.name, status, moved)
            row = _as_json(each, status) | {"degraded": saved._asdict() | {"by_models": dict(saved.by_models)}}
            out.print(json.dumps(row), markup=False, soft_wrap=True)
        return
    out.print(table(wanted, current))
    for each in wanted:
        status = current[each.name]
        if status is not None and (name or status.level in {"stopped", "degraded", "projected"}):
            out.print(clean(status.reason, 500), markup=False)
        for line in saved_by(each.name, status, moved).lines():
            out.print(line, markup=False)


def read(install: Install) -> tuple[Mapping[str, BudgetStatus], Sequence[DegradeSum]]:
    """The statuses by budget, and what gates have saved. UserError when the broker does not answer."""
    saved = newest_of(install, Topic.SAVINGS, DegradeSum)
    return newest_of(install, Topic.BUDGETS, BudgetStatus), tuple(saved.values())


class Saved(NamedTuple):
    """What cheaper models saved within a budget's present period."""

    calls: int = 0
    settled: int = 0
    spent_usd: float = 0.0
    saved_usd: float = 0.0
    by_models: Mapping[str, int] = MappingProxyType({})  # "gpt-4.1 → gpt-4.1-mini, web" -> calls

    def lines(self) -> Iterator[str]:
        if not self.calls:
            return
        yield (
            f"  cheaper models: {counted(self.calls, 'call')} moved, {usd(self.saved_usd)} saved by the price table "
            f"({counted(self.settled, 'call')} with known tokens)"
        )
        for words, calls in sorted(self.by_models.items()):
            yield f"    {clean(words, 200)}: {counted(calls, 'call')}"


def saved_by(budget: str, status: BudgetStatus | None, sums: Iterable[DegradeSum]) -> Saved:
    """Within the period of the status; without one nothing is known."""
    if status is None:
        return Saved()
    hours = range(status.period_from_ms // _HOUR_MS, -(-status.period_until_ms // _HOUR_MS))
    mine = [each for each in sums if each.budget == budget and each.hour in hours]
    by_models: Counter[str] = Counter()
    for each in mine:
        by_models[f"{each.model} → {each.instead}, {each.app}"] += each.calls
    return Saved(
        sum(each.calls for each in mine), sum(each.settled for each in mine),
        sum(each.spent_nano_usd for each in mine) / NANO, sum(each.saved_nano_usd for each in mine) / NANO,
        dict(by_models),
    )  # fmt: skip


def table(wanted: list[BudgetConfig], current: Mapping[str, BudgetStatus | None]) -> Table:
    """One row for each."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("budget", "spent", "", "of", "period", "at this pace", "state"):
        shown.add_column(head, justify="right" if head in {"of", "at this pace"} else "left", no_wrap=head == "")
    for each in wanted:
        status = current[each.name]
        if status is None:
            shown.add_row(clean(each.name, 60), "nothing heard yet", "", _limits(each), each.period, "", scope_of(each))
            continue
        share = share_of(each, status.spent_nano_usd, status.spent_tokens)
        style = _STYLE[status.level]
        shown.add_row(
            clean(each.name, 60), _spent(each, status), Text(f"{bar(share, 16)} {share:>4.0%}", style=style),
            _limits(each), status.period, _ahead(status), Text(_WORDS[status.level], style=style),
        )  # fmt: skip
    return shown


def _wanted(install: Install, told: Mapping[str, BudgetStatus], name: str, *, quotas: bool) -> list[BudgetConfig]:
    """As they are written; the quotas of keys that were issued are known from what was told of them alone."""
    written = list(install.folder.budgets.budgets)
    issued = [_quota(status) for status in told.values() if status.budget.startswith(QUOTA)]
    every = [*written, *sorted(issued, key=lambda quota: quota.name)]
    if not name:
        return every if quotas else written
    found = [each for each in every if each.name == name]
    if not found:
        raise UserError(f"no budget {clean(name, 80)}: {did_you_mean(name, [each.name for each in every])}")
    return found


def _quota(status: BudgetStatus) -> BudgetConfig:
    limit = (status.limit_nano_usd or 0) / NANO
    return BudgetConfig(name=status.budget, keys=(status.budget.removeprefix(QUOTA),), period="day", usd=limit or None)


def _current(budget: BudgetConfig, status: BudgetStatus | None, now_ms: int) -> BudgetStatus | None:
    """A status of a period that is over says nothing of this one."""
    if status is None or (not is_rolling(budget.period) and now_ms >= status.period_until_ms):
        return None
    return status


def _spent(budget: BudgetConfig, status: BudgetStatus) -> str:
    money = [usd(status.spent_nano_usd / NANO)] if budget.usd else []
    return ", ".join([*money, *([f"{status.spent_tokens:,} tokens"] if budget.tokens else [])])


def _limits(budget: BudgetConfig) -> str:
    money = [usd(budget.usd)] if budget.usd else []
    return ", ".join([*money, *([f"{budget.tokens:,} tokens"] if budget.tokens else [])])


def _ahead(status: BudgetStatus) -> str:
    if status.projected_nano_usd is None:
        return ""
    return f"{usd(status.projected_nano_usd / NANO)} by {rfc3339(status.period_until_ms)[:10]}"


def _as_json(budget: BudgetConfig, status: BudgetStatus | None) -> dict[str, object]:
    if status is None:
        return {"budget": budget.name, "scope": scope_of(budget), "owner": budget.owner, "level": None}
    share = share_of(budget, status.spent_nano_usd, status.spent_tokens)
    return {**status.model_dump(exclude={"type"}), "owner": budget.owner, "used": round(share, 6)}
