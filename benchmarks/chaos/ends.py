"""How each worker process ended, and whether it may have ended so. Pure."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

State = Literal["at work", "while starting", "while ending"]
By = Literal["a fault", "its supervisor"]

CANNOT_START: Final = 2  # exit code: it found no broker or no store, and said so in one sentence (docs/operations.md)
_SENTENCE: Final = "keyfuse: "
_STILL_GONE_S: Final = 30.0  # a broker that is back looks for its groups; a worker waits so long for it


class Told(NamedTuple):
    """A signal, and what the process was doing when it came."""

    by: By
    name: Literal["SIGKILL", "SIGTERM"]
    state: State


class Outage(NamedTuple):
    """Of the broker or the store, by one clock."""

    what: str
    began_s: float
    ended_s: float


@dataclass(frozen=True)
class End:
    """Of one process, by the clock of `Outage`. `last_words` is the end of its log."""

    status: int | None  # negative: the signal; None: it never ended
    was_up: bool
    told: tuple[Told, ...]
    began_s: float
    ended_s: float
    last_words: str = ""


def fault_that_ended(end: End) -> Told | None:
    """A process is counted once, however many signals it got: by the SIGKILL if one ended it, else by the SIGTERM."""
    faults = [told for told in end.told if told.by == "a fault"]
    name = "SIGKILL" if end.status == -signal.SIGKILL else "SIGTERM"
    return next((told for told in faults if told.name == name), None)


def by_fault(ends: Iterable[End]) -> Counter[str]:
    """How many processes a fault ended, by the signal and what they were doing."""
    faults = (fault_that_ended(end) for end in ends)
    return Counter(f"{told.name} {told.state}" for told in faults if told is not None)


def without_fault(ends: Iterable[End]) -> Counter[str]:
    """The others: whom their supervisor told to leave, and who ended by themselves."""
    others = (end for end in ends if fault_that_ended(end) is None)
    return Counter("told to leave" if end.told else f"by itself with {end.status}" for end in others)


def why_wrong(end: End, outages: Sequence[Outage]) -> str | None:
    """None when it ended in order, by the signal it was sent, or because it could not start and said so."""
    told = {each.name for each in end.told}
    starting = any(each.name == "SIGTERM" and each.state == "while starting" for each in end.told)
    fine = (
        (end.status == 0 and "SIGTERM" in told)
        or (end.status == -signal.SIGKILL and "SIGKILL" in told)
        or (end.status == -signal.SIGTERM and starting)  # it came before anybody listened
        or (end.status == CANNOT_START and _could_not_start(end, outages))
    )
    if fine:
        return None
    how = "does not end" if end.status is None else f"ended with {end.status}"
    sent = ", ".join(f"{each.name} {each.state}" for each in end.told) or "no signal"
    return f"a worker {how} after {sent}{'' if end.was_up else ', before it was up'}: {end.last_words or 'no words'}"


def _could_not_start(end: End, outages: Sequence[Outage]) -> bool:
    away = any(outage.began_s <= end.ended_s and outage.ended_s + _STILL_GONE_S >= end.began_s for outage in outages)
    return away and not end.was_up and end.last_words.startswith(_SENTENCE)
