"""Numbers and states in the words of the person on call. Pure."""

from __future__ import annotations

from typing import Final

from schemas.records import IncidentState, IncidentStep, Step, StepState

STEP_WORDS: Final[dict[Step, str]] = {
    "notify": "tell people",
    "throttle": "throttle",
    "degrade": "degrade to a cheaper model",
    "block": "block at the gateway",
    "disable": "disable at the provider",
    "revoke": "revoke for good",
    "restore": "restore",
    "switch": "switch to the backup",
}
STATE_WORDS: Final[dict[StepState, str]] = {
    StepState.REQUESTED: "ordered",
    StepState.AWAITING_APPROVAL: "waits for a person's approval",
    StepState.IN_FLIGHT: "under way",
    StepState.CONFIRMED: "confirmed",
    StepState.DRY_RUN: "dry run, nothing was done",
    StepState.REFUSED: "refused by a safety rule",
    StepState.IRREVOCABLE: "FAILED, a person must act now",
    StepState.SUPERSEDED: "undone or no longer wanted",
    StepState.REJECTED: "rejected by a person",
}
INCIDENT_WORDS: Final[dict[IncidentState, str]] = {
    "open": "open",
    "acknowledged": "acknowledged",
    "contained": "contained",
    "resolved": "resolved",
    "false_positive": "false positive",
}


def usd(amount: float) -> str:
    """Dollars to the cent.

    >>> usd(1234.5), usd(0.004), usd(0)
    ('$1,234.50', 'under $0.01', '$0.00')
    """
    if 0 < amount < 0.01:
        return "under $0.01"
    return f"${amount:,.2f}"


def span(seconds: float) -> str:
    """A length of time in its largest sensible unit.

    >>> span(45), span(720), span(12_600), span(1_296_000)
    ('45 s', '12 min', '3.5 h', '15 d')
    """
    for limit_s, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit_s:
            return f"{seconds / unit_s:.3g} {unit}"
    return f"{seconds / 86_400:.3g} d"


def bar(share: float, width: int = 20) -> str:
    """A share as a bar, for a terminal and a chat.

    >>> bar(0.42, 10), bar(0.001, 10), bar(1.7, 10), bar(0, 10)
    ('████░░░░░░', '█░░░░░░░░░', '██████████', '░░░░░░░░░░')
    """
    full = min(width, max(round(share * width), 1 if share > 0 else 0))
    return "█" * full + "░" * (width - full)


def counted(number: int, thing: str) -> str:
    """A number with its noun.

    >>> counted(1, "key"), counted(2000, "event")
    ('1 key', '2,000 events')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def clean(text: str, limit: int = 300) -> str:
    r"""Foreign text made safe for a terminal and a chat: one line, no control characters, not endless.

    >>> clean("two\nlines \x1b[31mred", 13)
    'two lines [3…'
    """
    # Unprintable covers escape sequences, zero-width and bidirectional marks: all of them can disguise a message.
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def step_words(step: IncidentStep) -> str:
    """One rung in one line.

    >>> step_words(IncidentStep(step="disable", command_id="c", state=StepState.CONFIRMED, automatic=True,
    ...                         reversible=True, at_ms=0, by="keyfuse", detail="effective after 4.2 s"))
    'disable at the provider: confirmed (automatic, can be undone): effective after 4.2 s'
    """
    who = "automatic" if step.automatic else f"by {clean(step.by, 80)}"
    undo = "" if step.step == "restore" else (", can be undone" if step.reversible else ", cannot be undone")
    detail = f": {clean(step.detail)}" if step.detail else ""
    return f"{STEP_WORDS[step.step]}: {STATE_WORDS[step.state]} ({who}{undo}){detail}"
