"""`keyfuse costs`: what was spent and what for, in words, as JSON, as a file for finance, as a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from pydantic import ValidationError
from rich.console import Console

from alerting.words import clean, counted, usd
from controls.costs import NANO, change, exact_usd, per, share
from schemas.records import rfc3339
from service.costs_answer import ROWS_MOST, Asked, CostsAnswer, month_of
from service.costs_files import SHOWBACK, write_csv, write_parquet
from service.errors import UserError
from service.history import Wanted
from service.install import Install, wall_ms
from service.query_commands import answer_of
from storage.costs import DIMENSIONS, CostSum, Move

_SHOWN: Final = 30
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})")
_HEAD: Final = (
    f"{'USD':>14} {'share':>6} {'requests':>12} {'$/request':>10} {'$/1k out':>9} {'$/user':>8} {'cached':>7}"
)


class Said(NamedTuple):
    """The options."""

    month: str = ""
    since: str = ""
    until: str = ""
    by: str = "team"
    team: str = ""
    app: str = ""
    env: str = ""
    as_json: bool = False
    csv: Path | None = None
    parquet: Path | None = None
    picture: Path | None = None


def costs(config: Path, said: Said, *, out: Console) -> None:
    """UserError when an option makes no sense, or neither a worker nor the store answers."""
    install, now_ms = Install.open(config), wall_ms()
    files = [path for path in (said.csv, said.parquet, said.picture) if path is not None]
    for path in files:
        _check_place(path)
    asked = asked_for(said, now_ms=now_ms)
    answer = _answer(install, asked)
    if said.csv is not None or said.parquet is not None:
        whole = _answer(install, asked.model_copy(update={"by": SHOWBACK, "limit": ROWS_MOST}))
        if said.csv is not None:
            write_csv(whole, said.csv)
        if said.parquet is not None:
            write_parquet(whole, said.parquet)
    if said.picture is not None:
        from service.costs_picture import draw  # noqa: PLC0415 - matplotlib takes a second to import

        draw(answer, said.picture)
    if said.as_json:
        out.print(orjson.dumps(as_json(answer), option=orjson.OPT_INDENT_2).decode(), markup=False)
        return
    out.print("\n".join(lines(answer)), markup=False)
    if files:
        out.print(f"\nwritten: {', '.join(map(str, files))}", markup=False)


def asked_for(said: Said, *, now_ms: int) -> Asked:
    """The question; UserError names the option that makes no sense."""
    by = tuple(name.strip() for name in said.by.split(",") if name.strip())
    unknown = [name for name in by if name not in DIMENSIONS]
    if unknown or not by or len(set(by)) < len(by):
        raise UserError(f"--by {said.by}: expected some of {', '.join(DIMENSIONS)}, each once")
    if said.month and (said.since or said.until):
        raise UserError("--month, or --from and --until: one of the two")
    since, until = month(said.month) if said.month else Wanted((), said.since, said.until).bounds(now_ms)
    if since is not None and until is None:
        until = now_ms
    elif until is not None and since is None:
        since = month_of(until - 1)[0]
    try:
        return Asked(from_ms=since, until_ms=until, by=by, team=said.team, app=said.app, env=said.env)
    except ValidationError as error:
        raise UserError(f"--until {said.until}: too far away") from error


def month(text: str) -> tuple[int, int]:
    """From and until of a month like 2026-11.

    >>> month("2026-11")
    (1793491200000, 1796083200000)
    """
    found = _MONTH.fullmatch(text.strip())
    year, number = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (1970 <= year <= 2099 and 1 <= number <= 12):
        raise UserError(f"--month {text}: expected a month like 2026-11")
    return month_of(round(datetime(year, number, 1, tzinfo=UTC).timestamp() * 1000))


def _answer(install: Install, asked: Asked) -> CostsAnswer:
    parameters = {name: value for name, value in asked.model_dump(mode="json").items() if value not in (None, "")}
    return CostsAnswer.model_validate(answer_of(install, "costs", parameters))


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path}: a folder; name a file")
    if not path.parent.is_dir():
        raise UserError(f"{path}: no folder {path.parent}")


def lines(answer: CostsAnswer) -> list[str]:
    """For the terminal: the whole, the outlook, one line a group, the movers."""
    total = answer.total
    first = f"{_day(answer.from_ms)} to {_day(min(answer.until_ms, answer.now_ms))} UTC"
    said = [f"{first}: {usd(total.cost_nano_usd / NANO)} in {counted(total.requests, 'request')}"]
    said += _outlook(answer) + _doubts(answer)
    if not total.events:
        return [f"{first}: nothing was used"]
    said += ["", f"{_HEAD}  {', '.join(answer.by)}", *(_line(row, total) for row in answer.rows[:_SHOWN])]
    if len(answer.rows) > _SHOWN:
        rest = sum(row.cost_nano_usd for row in answer.rows[_SHOWN:]) / NANO
        said.append(f"{rest:>14,.2f} {'':>6}  in {len(answer.rows) - _SHOWN:,} more; --json and --csv have them all")
    said.append(_line(total._replace(group=("all",)), total))
    moves = [_move(move) for move in answer.movers if move.before_nano_usd != move.after_nano_usd]
    return said + (["", "moved most, the last seven days against the seven before:", *moves] if moves else [])


def _outlook(answer: CostsAnswer) -> list[str]:
    told = answer.outlook
    if told is None:
        return []
    low, high = usd(told.low / NANO), usd(told.high / NANO)
    unsure = f" (only {counted(told.days, 'day')} of history: take it with salt)" if told.days < 14 else ""
    end = _day(answer.until_ms)
    return [f"by {end}: about {usd(told.expected / NANO)}; four times in five between {low} and {high}{unsure}"]


def _doubts(answer: CostsAnswer) -> list[str]:
    said, total = [], answer.total
    if total.unpriced:
        said.append(f"{counted(total.unpriced, 'request')} of models without a price: counted, at 0 USD")
    rollup = answer.rollup_nano_usd
    if rollup is not None and rollup != total.cost_nano_usd:
        off = exact_usd(total.cost_nano_usd - rollup)
        said.append(f"{off:+f} USD against the screens, which go by the first word of an event that was sent again")
    return said


def _line(row: CostSum, total: CostSum) -> str:
    units = units_of(row)
    part = share(row.cost_nano_usd, total.cost_nano_usd)
    name = clean(" ".join(one or "-" for one in row.group), 120)
    return (
        f"{row.cost_nano_usd / NANO:>14,.2f} {_percent(part):>6} {row.requests:>12,} "
        f"{_small(units['usd_per_request']):>10} {_small(units['usd_per_1k_output_tokens']):>9} "
        f"{_small(units['usd_per_user']):>8} {_percent(units['cache_share']):>7}  {name}"
    )


def units_of(row: CostSum) -> dict[str, float | None]:
    """The unit figures of a group; None where it has nothing to divide by."""
    return {
        "usd_per_request": per(row.cost_nano_usd, row.requests),
        "usd_per_1k_output_tokens": per(row.cost_nano_usd, row.output_tokens, times=1000),
        "usd_per_user": per(row.user_nano_usd, row.users),
        "cache_share": share(row.cached_input_tokens, row.input_tokens),
    }


def _move(move: Move) -> str:
    before, after = move.before_nano_usd, move.after_nano_usd
    name = clean(" ".join(one or "-" for one in move.group), 120)
    return f"{(after - before) / NANO:>+14,.2f}  {change(before, after):>12}  {name}"


def as_json(answer: CostsAnswer) -> dict[str, Any]:
    """The answer for programs: money as whole nano-USD and as exact text, times as RFC 3339."""
    return {
        "from": rfc3339(answer.from_ms), "until": rfc3339(answer.until_ms), "as_of": rfc3339(answer.now_ms),
        "total": _row(answer.total, ()), "rows": [_row(row, answer.by) for row in answer.rows],
        "movers": [_moved(move, answer.by) for move in answer.movers],
        "forecast": answer.outlook.model_dump() if answer.outlook else None,
        "days": [{"day": _day(at), "cost_nano_usd": nano} for at, nano in answer.days],
    }  # fmt: skip


def _row(row: CostSum, by: Sequence[str]) -> dict[str, Any]:
    figures = {name: value for name, value in row._asdict().items() if name != "group"}
    return dict(zip(by, row.group, strict=False)) | figures | {"usd": str(exact_usd(row.cost_nano_usd))} | units_of(row)


def _moved(move: Move, by: Sequence[str]) -> dict[str, Any]:
    return dict(zip(by, move.group, strict=True)) | {
        "before_nano_usd": move.before_nano_usd, "after_nano_usd": move.after_nano_usd,
        "change": change(move.before_nano_usd, move.after_nano_usd),
    }  # fmt: skip


def _day(at_ms: int) -> str:
    return rfc3339(at_ms)[:10]


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{part * 100:.0f} %"


def _small(amount: float | None) -> str:
    return "-" if amount is None else f"{amount:,.4f}" if amount < 10 else f"{amount:,.2f}"
