"""`mark`, `unmark` and `marks`: what people say of alarms, and what follows from it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast, get_args

from pydantic import ValidationError
from rich.console import Console

from alerting.words import clean
from controls.labels import read_labels
from detectors.grants import FAMILIES, announced, granted
from schemas.records import CERTAIN, CLOSED, TOLD, Family, Incident, Mark, Verdict
from schemas.redact import redact
from service.errors import UserError
from service.exported import read_exported
from service.install import Install, wall_ms
from service.mark_words import announced_block, counts, effect_words, mark_block, minute, moment_ms
from service.query_commands import ask
from service.request_commands import LOOK_BACK_H, bootstrap_of, known_facts, send, speaker
from service.setup_commands import connect, no_answer
from storage.errors import StoreError
from streams.errors import BrokerDown
from streams.kafka import wait_for_broker
from streams.marks import read_marks
from streams.topics import Topic

VERDICTS: Final[dict[str, Verdict]] = {"true": "true", "false-positive": "false_positive", "expected": "expected"}
_DAY_MS: Final = 86_400_000
_INCIDENTS: Final = ("inc_", "manual:")


class Said(NamedTuple):
    """A person's words, as they came from the command line."""

    target: str  # a key, an incident, or `env/provider`
    verdict: str
    reason: str
    by: str = ""
    until: str = ""
    times: float | None = None
    families: tuple[str, ...] = ()
    scope: str = "key"
    for_good: bool = False


def mark(config: Path, said: Said, *, out: Console) -> None:
    """Say what an alarm was, or what is expected of a key."""
    install = Install.open(config)
    mark = _mark(config, install, said, now_ms=wall_ms())
    send(install, Topic.MARKS, (mark.mark_id, mark))
    of = f" of incident {mark.incident_id} ({minute(mark.from_ms)})" if mark.incident_id else _span(mark)
    out.print(
        f"marked {mark.key_id}{of} as {said.verdict}: {mark.mark_id}\n"
        f"effect: {effect_words(mark, mark.at_ms)}\n"
        f"`keyfuse unmark {mark.mark_id} --reason WHY` takes it back",
        markup=False,
    )


def _span(mark: Mark) -> str:
    """The time that a label speaks of, where no incident tells it."""
    if mark.verdict == "expected" or mark.scope == "cohort":
        return ""
    return f" from {minute(mark.from_ms)} to {minute(mark.until_ms)}"


def unmark(config: Path, mark_id: str, *, reason: str, by: str, out: Console) -> None:
    """Take a mark back: from now on it counts for nothing."""
    install = Install.open(config)
    by = speaker(install, by, "false_positive")
    known = next((each for each in all_marks(install) if each.mark_id == mark_id), None)
    if known is None:
        raise UserError(f"no mark {mark_id}; `keyfuse marks --all` shows all of them")
    if known.withdrawn:
        raise UserError(f"{mark_id} was withdrawn by {known.withdrawn_by} already")
    changes = {"withdrawn": True, "withdrawn_by": by, "withdrawn_because": _reason(reason)}
    # Newer than what it takes back, also where that was said on a machine whose clock is ahead.
    gone = known.model_copy(update={"at_ms": max(wall_ms(), known.at_ms + 1), **changes})
    send(install, Topic.MARKS, (mark_id, gone))
    out.print(f"withdrawn: {mark_id} of {known.key_id} counts for nothing from now on", markup=False)


def marks(config: Path, *, everything: bool, out: Console) -> None:
    """What counts now or will, newest first; with `everything` labels, and what has faded or was withdrawn."""
    install, now_ms = Install.open(config), wall_ms()
    newest = sorted(all_marks(install), key=lambda each: (-each.at_ms, each.mark_id))
    shown = [each for each in newest if everything or counts(granted(each), now_ms)]
    windows = [each for each in install.folder.detectors.announced if everything or counts(announced(each), now_ms)]
    blocks = [*(announced_block(each, now_ms) for each in windows), *(mark_block(each, now_ms) for each in shown)]
    hidden = len(newest) - len(shown)
    more = [f"{hidden} more that change nothing now: `keyfuse marks --all`"] if hidden else []
    out.print("\n\n".join([*(blocks or ["no mark changes anything now"]), *more]), markup=False)


def export(config: Path, file: str, *, out: Console) -> None:
    """Every mark as one JSON object a line, oldest first; `-` is standard output."""
    found = sorted(all_marks(Install.open(config)), key=lambda each: (each.at_ms, each.mark_id))
    lines = b"".join(each.to_bytes() + b"\n" for each in found)
    if file == "-":
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()
        return
    Path(file).write_bytes(lines)
    out.print(f"{len(found)} marks written to {file}", markup=False)


def take_in(config: Path, file: str, *, out: Console) -> None:
    """Give the marks of a file to the broker, but those of which it has a newer word: none comes back by this door."""
    install, found = Install.open(config), labels_of(file)
    known = {each.mark_id: each.at_ms for each in all_marks(install)}
    new = [each for each in found if each.at_ms > known.get(each.mark_id, -1)]
    send(install, Topic.MARKS, *((each.mark_id, each) for each in new))
    out.print(f"{len(new)} of {len(found)} marks taken from {file}; the others were known", markup=False)


def labels_of(file: str) -> list[Mark]:
    """The marks of an exported file. UserError when it cannot be read."""
    return read_exported(file, read_labels)


def all_marks(install: Install) -> list[Mark]:
    """From the broker, which has the newest; from the store when nothing runs here."""
    topic, partitions = install.topics.name(Topic.MARKS), install.topics.count(Topic.MARKS)
    try:
        bootstrap = bootstrap_of(install)
    except UserError:
        return _stored(install)

    async def read() -> list[Mark]:
        await wait_for_broker(bootstrap, timeout_s=5)
        return await read_marks(bootstrap, topic, partitions)

    try:
        return asyncio.run(read())
    except BrokerDown as error:
        raise UserError(str(error)) from error


def _stored(install: Install) -> list[Mark]:
    store = connect(install)
    try:
        return store.marks()
    except StoreError as error:
        raise no_answer(error) from error
    finally:
        store.close()


def _mark(config: Path, install: Install, said: Said, *, now_ms: int) -> Mark:
    verdict = _verdict(said)
    by = speaker(install, said.by, "expected" if verdict == "expected" else "false_positive")
    families = _families(said.families)
    key_id, incident = _target(config, install, said)
    if incident is not None and verdict == "false_positive" and not families:
        families = incident.families
        if not families:
            raise UserError(f"no detector spoke in {incident.incident_id}: name what was wrong with --family")
    from_ms, until_ms = _time(said, verdict, incident, now_ms=now_ms)
    linked = incident.incident_id if incident else ""
    judged = "" if verdict == "expected" else linked
    try:
        return Mark(
            mark_id=Mark.id_of(judged, said.scope, key_id, verdict, now_ms, by), at_ms=now_ms, by=by, verdict=verdict,
            reason=_reason(said.reason), scope=cast(Literal["key", "cohort"], said.scope), key_id=key_id,
            incident_id=linked, families=families, from_ms=from_ms, until_ms=until_ms,
            for_good=said.for_good, **({} if said.times is None else {"times": said.times}),
        )  # fmt: skip
    except ValidationError as error:
        raise UserError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error


def _verdict(said: Said) -> Verdict:
    """Raises UserError for what does not go together."""
    if said.verdict not in VERDICTS:
        raise UserError(f"{said.verdict}: expected one of {', '.join(VERDICTS)}")
    if said.scope not in ("key", "cohort"):
        raise UserError(f"--scope {said.scope}: expected key or cohort")
    if said.verdict == "expected" and not said.until:
        raise UserError("expected until when? `--until 4h`, or a time or date")
    if said.verdict != "expected" and (said.until or said.times is not None):
        raise UserError("--until and --times go with `expected` alone")
    return VERDICTS[said.verdict]


def _families(names: tuple[str, ...]) -> tuple[Family, ...]:
    for name in names:
        if name in TOLD:
            raise UserError(f"--family {name}: no mark softens what no detector says; `keyfuse resolve` closes it")
        if name in CERTAIN:
            raise UserError(f"--family {name}: no mark softens a certain limit; change it in detectors.yaml")
        if name not in get_args(Family):
            raise UserError(f"--family {name}: expected some of {', '.join(FAMILIES)}")
    return cast(tuple[Family, ...], names)


def _reason(text: str) -> str:
    if not text.strip():
        raise UserError("--reason: say why; the next person will want to know")
    return redact(clean(text))


def _time(said: Said, verdict: Verdict, incident: Incident | None, *, now_ms: int) -> tuple[int, int]:
    """The time the mark speaks of."""
    from_ms = incident.opened_at_ms if incident else now_ms
    if verdict == "expected":
        try:
            until_ms = moment_ms(said.until, now_ms)
        except (ValueError, OverflowError) as error:
            raise UserError(f"--until {said.until}: expected 90m, 4h, 2d, a date, or a time (RFC 3339)") from error
        if until_ms <= now_ms:
            raise UserError(f"--until {said.until}: that is over")
        return from_ms, until_ms
    if incident is None:  # whatever it was, it was lately
        return now_ms - _DAY_MS, now_ms
    return from_ms, max(from_ms, incident.last_finding_at_ms)


def _target(config: Path, install: Install, said: Said) -> tuple[str, Incident | None]:
    """The key, or the cohort, and the incident that is meant."""
    if said.scope == "cohort":
        if said.target.count("/") < 1:
            raise UserError(f"{said.target}: name a cohort as ENV/PROVIDER, for example prod/openai")
        _check_cohort(config, said.target)
        return said.target, None
    if said.target.startswith(_INCIDENTS):
        found = next((each for each in _incidents(config) if each.incident_id == said.target), None)
        if found is None:
            raise UserError(f"no incident {said.target}; `keyfuse incidents` shows them")
        return found.key_id, found
    known_facts(config, install, said.target)
    try:
        mine = [each for each in _incidents(config) if each.key_id == said.target]
    except UserError:
        return said.target, None  # nobody can be asked; a person is heard all the same
    newest = max(mine, key=lambda each: each.opened_at_ms, default=None)
    if newest is not None and said.verdict == "expected" and newest.state in CLOSED:
        return said.target, None  # what is to come has nothing to do with it
    return said.target, newest


def _check_cohort(config: Path, cohort: str) -> None:
    """A slip in its name would be a mark of nobody. When nobody can be asked, a person is heard all the same."""
    try:
        uses = ask(config, "keys", {"hours": LOOK_BACK_H, "limit": 1_000_000})
    except UserError:
        return
    known = sorted({f"{use['env']}/{use['provider']}" for use in uses})
    if known and cohort not in known:
        raise UserError(f"no key of {cohort} is in use; there are {', '.join(known)}")


def _incidents(config: Path) -> list[Incident]:
    return [Incident.model_validate(row) for row in ask(config, "incidents", {"limit": 10_000})]
