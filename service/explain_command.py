"""`keyfuse explain`: why each family did or did not speak of a key around one time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.console import Console

from alerting.words import clean
from controls.leaks import leaks_words
from detectors.account import Accountant, FamilyAccount, KeyAccount
from detectors.explain import number
from schemas.partition import partition_of
from schemas.records import Incident, rfc3339
from schemas.redact import looks_secret
from service.errors import UserError
from service.history import Wanted, in_steps, moment, open_history
from service.install import Install, wall_ms
from service.labels import exceptions_for, marks_for
from service.play import new_core
from service.query_commands import ask

LEARNED_FROM_MS: Final = 14 * 86_400_000
"""So much history before the time is played when nobody says from when: what is older has faded or is learned."""


def main(key_id: str, at: str, wanted: Wanted, config: Path, *, within_s: int, out: Console, err: Console) -> None:
    """Play the history of the key's partition up to that time, and look."""
    if looks_secret(key_id):
        raise UserError("this looks like the secret itself; name the key as `keyfuse keys` shows it")
    install, now_ms = Install.open(config), wall_ms()
    at_ms = moment(at, now_ms=now_ms, option="--at")
    from_ms, _ = wanted.bounds(now_ms)
    if from_ms is not None and from_ms > at_ms:
        raise UserError(f"--at {at} is before --from {wanted.since}")
    if from_ms is None and not wanted.files:
        from_ms = at_ms - LEARNED_FROM_MS
    partition = partition_of(key_id, install.folder.wiring.kafka.partitions)
    core = new_core(
        install.folder, partition, marks=marks_for(install, wanted),
        exceptions=exceptions_for(install, wanted.files),
    )  # fmt: skip
    at_s = at_ms // 1000
    accountant = Accountant(core, key_id, from_s=at_s - within_s, until_s=at_s + within_s)
    until_ms = (at_s + within_s + 1) * 1000
    with open_history(install, wanted.files, from_ms=from_ms, until_ms=until_ms, key_id=key_id) as history:
        for frame in in_steps(history, label="playing", err=err):
            core.process(frame)
    core.advance(at_s + within_s + 1)
    account = accountant.account()
    if account is None:
        raise UserError(_not_used(key_id, at_ms, within_s, accountant.last_used_s, of_files=bool(wanted.files)))
    facts = core.book.facts[core.book.slot_of[key_id]]
    owner = f"{facts.team}/{facts.app} in {facts.env}, {facts.provider}"
    out.print("\n".join(told(account, owner=owner, within_s=within_s)), markup=False)
    if not wanted.files:
        for line in _reported(config, key_id):
            out.print(line, markup=False)


def _reported(config: Path, key_id: str) -> Iterator[str]:
    """Where others have found the key: no detector's word, so no history that is played knows of it."""
    try:
        rows = ask(config, "incidents", {"limit": 10_000})
    except UserError:
        return
    for incident in map(Incident.model_validate, (row for row in rows if row["key_id"] == key_id)):
        if incident.leaks:
            yield ""
            yield f"leak, since {rfc3339(incident.opened_at_ms)}: {clean(leaks_words(incident.leaks), 500)}"


def _not_used(key_id: str, at_ms: int, within_s: int, last_used_s: int | None, *, of_files: bool) -> str:
    when = f"{_utc(at_ms // 1000)} UTC"
    if last_used_s is None:
        names = "`keyfuse replay FILE --report PAGE.html`" if of_files else "`keyfuse keys --hours 1000`"
        return f"{key_id} was not used in the history before {when}; {names} lists what was"
    return (
        f"{key_id} was not used within {within_s} s of {when}, and only use is judged; its last use before was at "
        f"{_utc(last_used_s)} UTC: --at {rfc3339(last_used_s * 1000)[:19]}"
    )


def told(account: KeyAccount, *, owner: str, within_s: int) -> Iterator[str]:
    """The page, line by line: the key, what it does, and each family, the strongest first."""
    sums = account.sums
    yield f"{clean(account.key_id)} ({clean(owner, 120)})"
    yield (
        f"at {_utc(account.at_s)} UTC: {number(sums['usd_1m'])} USD and {number(sums['requests_1m'])} requests "
        f"in 1 min, {number(sums['usd_1h'])} USD in 1 h; {account.windows:,} active 10-minute windows and "
        f"{account.requests:,} requests so far"
    )
    yield f"each family at its strongest second within {within_s} s:"
    yield ""
    yield f"{'family':<10} {'raw':>8} {'score':>8} {'needs':>8}  {'at, UTC':<8}  fired"
    for family in account.families:
        yield from _family(family)


def _family(family: FamilyAccount) -> Iterator[str]:
    score, needs = f"{family.score:.2f}", f"{family.threshold:.2f}"
    at = _utc(family.at_s)[11:]
    yield f"{family.family:<10} {family.raw:>8.3f} {score:>8} {needs:>8}  {at:<8}  {'yes' if family.fired else 'no'}"
    if family.said:
        yield f"{'':<10} {family.said}"
    if not family.fired:
        yield f"{'':<10} why not: {family.why}"


def _utc(second: int) -> str:
    return rfc3339(second * 1000)[:19].replace("T", " ")
