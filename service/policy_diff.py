"""`keyfuse policy diff`: what a change of policies would have refused of the calls that were made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from alerting.words import clean, counted, usd
from schemas.records import rfc3339
from service.config_folder import load_folder
from service.errors import UserError
from service.history import History, in_steps, open_history
from service.install import Install, wall_ms
from service.labels import exceptions_for, issued_for
from service.policy_trial import Change, Group, Side, Sum, Trial

_DAY_MS: Final = 86_400_000
_DAYS: Final = 7.0
_SHOWN: Final = 20


def diff(
    config: Path, other: Path, files: tuple[str, ...], *, days: float | None, as_json: bool, out: Console, err: Console
) -> bool:
    """Print it; whether calls would have been refused that pass now."""
    if not other.is_dir():
        raise UserError(f"{other}: no such folder; it is to hold the files as they would be")
    install, changed = Install.open(config), load_folder(other)
    days = _DAYS if days is None and not files else days
    from_ms = None if days is None else wall_ms() - int(days * _DAY_MS)
    exceptions, issued = exceptions_for(install, files), issued_for(install, files)
    trial = Trial(Side(install.folder, exceptions, issued), Side(changed, exceptions, issued))
    with open_history(install, files, from_ms=from_ms, until_ms=None) as history:
        for frame in in_steps(history, label="judging", err=err):
            trial.take(frame)
        told = as_facts(trial, history) if as_json else "\n".join(as_lines(trial, history, config, other))
    out.print(json.dumps(told, indent=2) if as_json else told, markup=False)
    return bool(trial.refused.events)


def as_lines(trial: Trial, history: History, config: Path, other: Path) -> Iterator[str]:
    """For people."""
    since, until = (rfc3339(ms)[:16].replace("T", " ") for ms in (history.first_ms, history.last_ms))
    yield f"policies of {config} → {other}, against {history.what}, {since} to {until} UTC"
    yield f"    {_sum_words(trial.seen)} of {counted(len(trial.keys), 'key')}"
    yield ""
    yield from _change_lines("would have been refused by the change", trial.refused, trial)
    yield from _change_lines("would have been allowed by the change", trial.allowed, trial)
    if trial.both.events:
        yield f"refused by both: {_sum_words(trial.both)}"
    if trial.refused_already.events:
        yield f"left out, because they were refused when they were made: {_sum_words(trial.refused_already)}"


def _change_lines(title: str, change: Change, trial: Trial) -> Iterator[str]:
    if not change.events:
        yield f"{title}: nothing"
        yield ""
        return
    share = 100 * change.cost_nano_usd / trial.seen.cost_nano_usd if trial.seen.cost_nano_usd else 0.0
    yield f"{title}: {_sum_words(change)} of {counted(len(change.by_key), 'key')} ({share:.1f} % of the USD)"
    yield "  by rule"
    for rule, group in _dearest(change.by_rule):
        yield f"    {clean(rule, 120)}: {_sum_words(group)}, {counted(len(group.others), 'key')}"
        yield from (f"        {_example_words(one)}" for one in group.examples)
    yield "  by key"
    for key_id, group in _dearest(change.by_key):
        facts, whole = group.facts, trial.keys[key_id]
        owner = f" ({clean(f'{facts.team}/{facts.app} in {facts.env}', 120)})" if facts else ""
        part = 100 * group.requests / whole.requests if whole.requests else 0.0
        rules = ", ".join(clean(rule, 80) for rule in group.others)
        yield f"    {clean(key_id)}{owner}: {_sum_words(group)}, {part:.1f} % of its requests; {rules}"
    hidden = len(change.by_key) - _SHOWN
    if hidden > 0:
        yield f"    and {counted(hidden, 'key')} more; --json has all"
    yield ""


def _dearest(groups: dict[str, Group]) -> list[tuple[str, Group]]:
    order = sorted(groups.items(), key=lambda each: (-each[1].cost_nano_usd, -each[1].requests, each[0]))
    return order[:_SHOWN]


def _sum_words(summed: Sum) -> str:
    return f"{counted(summed.requests, 'request')}, {usd(summed.cost_nano_usd / 1e9)}"


def _example_words(one: dict[str, Any]) -> str:
    return f"{rfc3339(one['at_ms'])} {clean(one['key_id'], 80)}: {clean(one['reason'], 300)}"


def as_facts(trial: Trial, history: History) -> dict[str, Any]:
    """For programs."""
    return {
        "from": rfc3339(history.first_ms), "until": rfc3339(history.last_ms), "keys": len(trial.keys),
        "seen": _sum_facts(trial.seen), "refused_by_both": _sum_facts(trial.both),
        "refused_when_made": _sum_facts(trial.refused_already),
        "would_be_refused": _change_facts(trial.refused), "would_be_allowed": _change_facts(trial.allowed),
    }  # fmt: skip


def _change_facts(change: Change) -> dict[str, Any]:
    return _sum_facts(change) | {
        "by_rule": {
            rule: _sum_facts(group) | {"keys": group.others, "examples": group.examples}
            for rule, group in change.by_rule.items()
        },
        "by_key": {
            key_id: _sum_facts(group)
            | {"rules": group.others, "facts": group.facts.model_dump() if group.facts else None}
            for key_id, group in change.by_key.items()
        },
    }


def _sum_facts(summed: Sum) -> dict[str, Any]:
    return {"events": summed.events, "requests": summed.requests, "usd": summed.cost_nano_usd / 1e9}
