"""`keyfuse policy except`, `exceptions`, `approve`, `refuse`, `end`: what the identity stage is to judge."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, cast, get_args

from pydantic import ValidationError
from rich.console import Console

from alerting.words import clean
from controls.exceptions import ExceptionDesk, ExceptionRules, id_of, question_id_of
from schemas.exception import LimitKind, ListedKind, PolicyException, RuleKind
from schemas.exception_ask import ExceptionAsk, ExceptionEnd
from schemas.records import rfc3339
from schemas.redact import looks_secret
from service.errors import UserError
from service.install import Install, wall_ms
from service.mark_words import moment_ms
from service.newest_of import newest_of
from service.question_commands import answer as answer_question
from service.request_commands import person, send
from streams.topics import Topic

KINDS: Final = (*get_args(ListedKind), "hours", *get_args(LimitKind))
_SETTINGS: Final = {
    "allowed_models": "models", "denied_models": "models", "allowed_endpoints": "endpoints",
    "quota_requests_per_min": "requests_per_min", "quota_usd_per_day": "usd_per_day",
}  # fmt: skip


class Scope(NamedTuple):
    """Whom it is for."""

    keys: tuple[str, ...]
    teams: tuple[str, ...]
    apps: tuple[str, ...]
    envs: tuple[str, ...]


class What(NamedTuple):
    """What is lifted."""

    rule: str
    of: str
    allows: tuple[str, ...]
    limit: float | None
    times: float


def ask(
    config: Path, scope: Scope, what: What, *, span: tuple[str, str], reason: str, owner: str, by: str, out: Console
) -> None:
    """Checked here, so that a slip is told at once; the identity stage judges it again."""
    install, now_ms = Install.open(config), wall_ms()
    if any(map(looks_secret, scope.keys)):
        raise UserError("--key: this looks like the secret itself; name the key as `keyfuse keys` shows it")
    from_ms = _moment(span[0], now_ms, "--from") if span[0] else now_ms
    said = _asked(scope, what, times=(now_ms, from_ms, _moment(span[1], from_ms, "--for")),
                  words=(reason, owner, person(by)))  # fmt: skip
    try:
        draft = rules_of(install).drafted(said)
    except ValueError as error:
        raise UserError(f"not asked: {error}") from error
    send(install, Topic.KEY_ASKS, (id_of(said), said))
    asked = ", ".join(rules_of(install).approvers(draft, install.people)) or "somebody else than you"
    out.print(
        f"asked for {draft.exception_id}: {draft.words}\n"
        f"it holds once approved ({asked}): `keyfuse policy approve {draft.exception_id}`, or the button in Slack",
        markup=False,
    )


def rules_of(install: Install) -> ExceptionRules:
    """What the folder says of exceptions."""
    return ExceptionRules(install.folder.policies, install.folder.budgets, install.folder.keys)


def shown(config: Path, *, everything: bool, as_json: bool, out: Console) -> None:
    """Those that hold, are asked for or will begin; the first to end first."""
    now_ms = wall_ms()
    found = sorted(known(Install.open(config)).values(), key=lambda one: (one.until_ms, one.exception_id))
    listed = [one for one in found if everything or (one.state in {"asked", "active"} and now_ms < one.until_ms)]
    for one in listed:
        out.print(one.model_dump_json() if as_json else block(one, now_ms), markup=False)
    if not listed and not as_json:
        out.print("no exceptions")


def block(one: PolicyException, now_ms: int) -> str:
    """One exception for people."""
    approved = f", approved by {clean(one.approved_by)}" if one.approved_by else ""
    lifts = f"{one.rule} of {clean(one.of)}" if one.of else f"{one.rule}, wherever it is written"
    left_h = (one.until_ms - now_ms) / 3_600_000
    left = f" ({left_h:,.1f} h left)" if one.holds(now_ms) else ""
    return "\n".join([
        f"{one.exception_id}  {one.shown_state(now_ms)}: {clean(one.words, 300)}{left}",
        f"    lifts   {lifts}; from {rfc3339(one.from_ms)[:16]}Z; up to {one.times:g} times the usual is expected",
        f"    people  owner {clean(one.owner)}, asked for by {clean(one.by)}{approved}",
        f"    reason  {clean(one.reason, 500)}",
        f"    last    {clean(one.change, 300)}",
    ])  # fmt: skip


def answer(config: Path, exception_id: str, choice: str, *, reason: str, by: str, out: Console) -> None:
    """As the button of its question does."""
    _known(Install.open(config), exception_id)
    answer_question(config, question_id_of(exception_id), choice, reason=reason, by=by, out=out)


def end(config: Path, exception_id: str, *, reason: str, by: str, out: Console) -> None:
    """Over before its time."""
    install = Install.open(config)
    one, by = _known(install, exception_id), person(by)
    stop = ExceptionDesk.why_not_end(one, by, install.people)
    if stop:
        raise UserError(f"not ended: {stop}")
    send(install, Topic.KEY_ASKS, (
        exception_id, ExceptionEnd(exception_id=exception_id, at_ms=wall_ms(), by=by, reason=reason)
    ))  # fmt: skip
    out.print(f"asked to end {exception_id}; `keyfuse policy exceptions --all` shows what became of it", markup=False)


def known(install: Install) -> Mapping[str, PolicyException]:
    """The newest version of each. UserError when the broker does not answer."""
    return newest_of(install, Topic.EXCEPTIONS, PolicyException)


def _known(install: Install, exception_id: str) -> PolicyException:
    one = known(install).get(exception_id)
    if one is None:
        raise UserError(f"no exception {exception_id} is known; `keyfuse policy exceptions --all` shows them")
    return one


def _asked(scope: Scope, what: What, *, times: tuple[int, int, int], words: tuple[str, str, str]) -> ExceptionAsk:
    rule = _SETTINGS.get(what.rule, what.rule)
    if rule not in KINDS:
        raise UserError(f"--rule {what.rule or 'is missing'}: expected one of {', '.join(KINDS)}")
    now_ms, from_ms, until_ms = times
    reason, owner, by = words
    try:
        return ExceptionAsk(
            request_id=uuid.uuid4().hex, at_ms=now_ms, by=by, rule=cast("RuleKind", rule), of=what.of,
            allows=what.allows, limit=what.limit, **scope._asdict(), times=what.times, from_ms=from_ms,
            until_ms=until_ms, reason=reason, owner=owner,
        )  # fmt: skip
    except ValidationError as error:
        raise UserError("; ".join(each["msg"] for each in error.errors())) from error


def _moment(text: str, from_ms: int, option: str) -> int:
    try:
        return moment_ms(text, from_ms)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{option} {text}: expected 90m, 12h, 3d, a date, or a time (RFC 3339)") from error
