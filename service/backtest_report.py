"""A backtest in words: the two versions side by side, what is gained and lost, and the same as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import starmap
from typing import Any, Final, NamedTuple

from alerting.words import clean, counted, span
from detectors.explain import number, rounded
from schemas.records import Severity, Verdict, rfc3339
from service.backtest import Backtest
from service.backtest_labels import Labelled, LabelledSide
from service.backtest_side import Told
from service.history import WEEK_MS

_SHOWN: Final = 15
_SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "warning", "info")
_LABEL_WORDS: Final[dict[Verdict, str]] = {
    "true": "labelled thefts caught", "false_positive": "labelled false alarms told again",
    "expected": "expected use told all the same",
}  # fmt: skip
_WRONG_WORDS: Final[dict[Verdict, str]] = {
    "true": "theft missed", "false_positive": "false alarm told again", "expected": "expected use told",
}  # fmt: skip


class Row(NamedTuple):
    """One line of the table."""

    what: str
    current: str
    candidate: str


def weeks(result: Backtest) -> float:
    """Length of the time that was judged."""
    return max(result.last_ms + 1 - result.from_ms, 1) / WEEK_MS


def rows(result: Backtest) -> Iterator[Row]:
    """The table."""
    both = (result.current, result.candidate)
    yield Row("alerts (incidents) per week", *(number(len(told) / weeks(result)) for told in both))
    for severity in _SEVERITIES:
        counts = [sum(each.severity == severity for each in told) for told in both]
        yield Row(f"  {severity}", *(number(count / weeks(result)) for count in counts))
    yield Row("alerts in all", *(str(len(told)) for told in both))
    yield Row("automatic cuts in mode auto", *(str(sum(each.cut is not None for each in told)) for told in both))
    yield Row("USD above normal in incidents", *(f"{sum(each.lost_usd for each in told):,.2f}" for told in both))
    yield Row("  with the automatic cuts", *(f"{sum(each.lost_with_cut_usd for each in told):,.2f}" for told in both))
    for verdict, words in _LABEL_WORDS.items():
        labels = [label for label in result.labels if label.mark.verdict == verdict]
        if labels:
            caught = [sum(side.told is not None for side in sides) for sides in _sides(labels)]
            yield Row(words, *(f"{count} of {len(labels)}" for count in caught))
        if verdict == "true" and any(label.spent_usd is not None for label in labels):
            lost = [sum(side.lost_usd or 0.0 for side in sides) for sides in _sides(labels)]
            yield Row("  USD until the cut or the end", *(f"{usd:,.2f}" for usd in lost))
    if result.labels:
        kept = [sum(starmap(Labelled.kept, zip(result.labels, sides, strict=True))) for sides in _sides(result.labels)]
        yield Row("labels kept right", *(f"{count} of {len(result.labels)}" for count in kept))


def _sides(labels: Sequence[Labelled]) -> tuple[list[LabelledSide], list[LabelledSide]]:
    return [label.current for label in labels], [label.candidate for label in labels]


def lines(result: Backtest, *, what: str) -> Iterator[str]:
    """The page of a backtest for the terminal."""
    yield (
        f"{what}, judged from {minute(result.from_ms)} to {minute(result.last_ms)} UTC "
        f"({span((result.last_ms - result.from_ms) / 1000)}); {counted(result.keys, 'key')}, "
        f"{counted(result.events, 'event')}, {result.usd:,.2f} USD"
    )
    yield (
        "learned once, judged twice: the two differ in what they tell alone" if result.one_core
        else "learned twice: the two differ in what they learn"
    )  # fmt: skip
    yield from body(result)


def body(result: Backtest) -> Iterator[str]:
    """The table, and what is gained, lost and missed."""
    yield ""
    yield f"{'':<34} {'current':>12} {'candidate':>12}"
    for row in rows(result):
        yield f"{row.what:<34} {row.current:>12} {row.candidate:>12}"
    yield from _listed("gained: the candidate alone would tell", result.gained)
    yield from _listed("lost: the current one alone tells", result.lost)
    yield from _labels(result)


def _labels(result: Backtest) -> Iterator[str]:
    """The labels that the candidate does not keep right; first those that only the candidate gets wrong."""
    wrong = [label for label in result.labels if not label.kept(label.candidate)]
    wrong.sort(key=lambda label: (not label.lost, label.mark.from_ms, label.mark.key_id))
    if wrong:
        yield ""
        lost = lost_labels(result)
        yield f"labels that the candidate gets wrong: {len(wrong)}; of these the current one keeps right: {lost}"
    for label in wrong[:_SHOWN]:
        money = "" if label.spent_usd is None else f", {label.spent_usd:,.2f} USD"
        whose = "lost" if label.lost else "both"
        words = f"{_WRONG_WORDS[label.mark.verdict]}{money}"
        yield f"  {minute(label.mark.from_ms)}  {whose}  {clean(label.mark.key_id)}  {words}"
    if len(wrong) > _SHOWN:
        yield f"  ... and {len(wrong) - _SHOWN} more; --out DIR writes them all"
    if result.untried:
        yield ""
        yield f"labels not tried, because this history does not hold their keys or times: {result.untried}"


def lost_labels(result: Backtest) -> int:
    """How many labels the current version keeps right and the candidate does not."""
    return sum(label.lost for label in result.labels)


def _listed(words: str, told: Sequence[Told]) -> Iterator[str]:
    yield ""
    yield f"{words}: {len(told)}"
    for each in told[:_SHOWN]:
        cut = f", {each.cut.step} by itself" if each.cut else ""
        yield f"  {minute(each.opened_ms)}  {clean(each.key_id)}  {each.severity}, {' + '.join(each.families)}{cut}"
        yield f"  {'':<16}  {clean(each.why, 300)}"
    if len(told) > _SHOWN:
        yield f"  ... and {len(told) - _SHOWN} more; --out DIR writes them all"


def minute(ms: int) -> str:
    """A time for a person, UTC."""
    return rfc3339(ms)[:16].replace("T", " ")


def as_json(result: Backtest, *, what: str) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "history": {
            "what": what, "judged_from": rfc3339(result.from_ms), "judged_until": rfc3339(result.last_ms),
            "weeks": rounded(weeks(result)), "keys": result.keys, "events": result.events, "usd": round(result.usd, 6),
        },
        "learned": "once" if result.one_core else "twice",
        "table": [row._asdict() for row in rows(result)],
        "current": [_told(each) for each in result.current],
        "candidate": [_told(each) for each in result.candidate],
        "gained": [each.incident_id for each in result.gained],
        "lost": [each.incident_id for each in result.lost],
        "labels": [_label(each) for each in result.labels],
        "labels_lost": lost_labels(result),
        "labels_not_tried": result.untried,
    }  # fmt: skip


def _told(told: Told) -> dict[str, Any]:
    cut = told.cut and {
        "step": told.cut.step, "effective": rfc3339(told.cut.effective_ms), "lost_usd": round(told.cut.lost_usd, 6)
    }  # fmt: skip
    return {
        "incident_id": told.incident_id, "key_id": told.key_id, "opened": rfc3339(told.opened_ms),
        "last_finding": rfc3339(told.last_ms), "severity": told.severity, "families": list(told.families),
        "why": told.why, "lost_usd": round(told.lost_usd, 6), "cut": cut,
    }  # fmt: skip


def _label(label: Labelled) -> dict[str, Any]:
    sides = {"current": label.current, "candidate": label.candidate}
    return {
        "mark_id": label.mark.mark_id, "key_id": label.mark.key_id, "verdict": label.mark.verdict,
        "from": rfc3339(label.mark.from_ms), "until": rfc3339(label.mark.until_ms),
        "spent_usd": _rounded(label.spent_usd),
    } | {
        name: {
            "incident_id": side.told.incident_id if side.told else None, "kept": label.kept(side),
            "lost_usd": _rounded(side.lost_usd),
        }
        for name, side in sides.items()
    }  # fmt: skip


def _rounded(usd: float | None) -> float | None:
    return None if usd is None else round(usd, 6)
