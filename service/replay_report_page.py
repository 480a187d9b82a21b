"""The report of a replay as one HTML page that needs nothing else: no script, no request, readable on a phone. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Final

from alerting.message import message, title
from alerting.moments import moments
from alerting.words import clean, span, step_words, usd
from schemas.records import CERTAIN, Incident, KeyFacts, Severity
from service.markup import Markup, Part, el, joined
from service.replay_report_chart import timeline
from service.replay_report_facts import Card, Facts, KeyRow
from service.replay_report_settings import Shown

CARDS_MOST: Final = 60
_WITH: Final = "lost with Keyfuse"
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
Draw = Callable[[Incident], bytes | None]


def page(facts: Facts, settings: Sequence[Shown], *, files_named: Sequence[str], latency_s: float, draw: Draw) -> str:
    """The whole page. Everything that comes from the events is escaped.

    Args:
        facts: The figures.
        settings: The configuration in force.
        files_named: What was read, as the person named it.
        latency_s: Seconds from a decision to its effect in the play with cuts.
        draw: Makes the picture of an incident as PNG; None for one that has none.
    """
    numbered = list(enumerate(facts.cards, 1))
    shown = sorted(numbered, key=lambda each: -each[1].cost_without_usd)[:CARDS_MOST]
    shown.sort(key=lambda each: each[0])
    style = files("service").joinpath("templates/report.css").read_text()
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("title", "Keyfuse replay"),
        el("style", Markup(style)),
    )
    body = el(
        "body",
        el("h1", "What Keyfuse would have found"),
        el("p", _period(facts, files_named), class_="soft"),
        _tiles(facts),
        _verdict(facts, latency_s),
        el("h2", "Spend over time"),
        timeline(facts.timeline, [(number, card.incident.opened_at_ms) for number, card in numbered]),
        _key_to_colours(),
        el("h2", "Incidents"),
        *[_card(number, card, draw) for number, card in shown],
        _left_out(len(numbered) - len(shown)) if numbered else el("p", "None."),
        el("h2", "Keys that spent most"),
        _top_keys(facts),
        _settings(settings),
        _how_to_read(latency_s),
    )
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def _period(facts: Facts, files_named: Sequence[str]) -> str:
    long = span((facts.end_ms - facts.start_ms) / 1000)
    return f"{_time(facts.start_ms)} to {_time(facts.end_ms)} UTC ({long}), from {', '.join(files_named)}"


def _tiles(facts: Facts) -> Markup:
    tiles = [
        ("keys", f"{facts.keys:,}"),
        ("events", f"{facts.events:,}"),
        ("spent", usd(facts.usd)),
        ("incidents", f"{len(facts.cards):,}"),
        ("keys cut", f"{facts.cuts:,}"),
        ("lost without Keyfuse", usd(facts.cost_without_usd)),
        (_WITH, usd(facts.cost_with_usd)),
    ]
    if facts.not_taken:
        tiles.append(("records not readable", f"{facts.not_taken:,}"))
    parts = [
        el("div", el("dt", name), el("dd", value), class_="saved" if name == _WITH else None) for name, value in tiles
    ]
    return el("dl", *parts, class_="tiles")


def _verdict(facts: Facts, latency_s: float) -> Markup:
    if not facts.cards:
        return el("p", "Nothing suspicious: no incident would have been opened.", class_="verdict")
    saved = facts.cost_without_usd - facts.cost_with_usd
    words = (
        f"With automatic cuts that take effect {latency_s:g} s after the decision, {usd(saved)} of the "
        f"{usd(facts.cost_without_usd)} spent above normal in these incidents would not have been spent."
    )
    return el("p", words, class_="verdict")


def _card(number: int, card: Card, draw: Draw) -> Markup:
    incident, told = card.incident, message(card.incident)
    changed = incident.sketch.changed if incident.sketch else ()
    return el(
        "article",
        el("h3", el("span", number, class_="number"), " ", title(incident)),
        el("p", told.headline, class_="headline"),
        _money(card),
        _picture(incident, draw),
        el("h4", "What changed") if changed else "",
        _list([clean(each) for each in changed]),
        el("h4", "Why"),
        el("table", *[_family(incident, family, sentence) for family, sentence in told.reasons], class_="families"),
        el("h4", "What was done"),
        _list([f"{_time(step.at_ms)} {step_words(step)}" for step in incident.steps] or ["nothing"]),
        id=f"incident-{number}",
        class_=_tone(incident.severity),
    )


def _money(card: Card) -> Markup:
    parts: list[Part] = [
        el("div", el("dt", "lost without"), el("dd", usd(card.cost_without_usd))),
        el("div", el("dt", "lost with"), el("dd", usd(card.cost_with_usd))),
    ]
    if card.cut is not None:
        words = f"{card.cut.step} after {span(card.cut.seconds)}"
        parts.append(el("div", el("dt", "cut"), el("dd", words)))
        refused = f"{card.refused_events:,} events, {usd(card.refused_usd)}"
        parts.append(el("div", el("dt", "refused after the cut"), el("dd", refused)))
    else:
        parts.append(el("div", el("dt", "cut"), el("dd", "no")))
    return el("dl", *parts, class_="money")


def _picture(incident: Incident, draw: Draw) -> Part:
    png = draw(incident)
    if png is None:
        return ""
    said = "; ".join(f"{_time(moment.at_ms)} {moment.words}" for moment in moments(incident))
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return el("img", src=source, alt=f"Spend of {clean(incident.key_id, 80)} over its last hours. {said}", width=640)


def _family(incident: Incident, family: str, sentence: str) -> Markup:
    score = next((value for name, value in incident.scores.items() if name == family), None)
    weight = "certain" if family in CERTAIN else "" if score is None else f"{score:.1f}"
    return el("tr", el("th", family, scope="row"), el("td", weight, class_="figure"), el("td", sentence))


def _top_keys(facts: Facts) -> Markup:
    numbers: dict[str, list[int]] = {}
    for number, card in enumerate(facts.cards, 1):
        numbers.setdefault(card.incident.key_id, []).append(number)
    head = el(
        "tr", *[el("th", name, scope="col") for name in ("key", "whose", "events", "USD", "refused", "incidents")]
    )
    rows = [_key_row(row, numbers.get(row.key_id, [])) for row in facts.top_keys]
    return el("div", el("table", el("thead", head), el("tbody", *rows)), class_="wide")


def _key_row(row: KeyRow, numbers: list[int]) -> Markup:
    links = [joined(el("a", number, href=f"#incident-{number}"), " ") for number in numbers[:12]]
    return el(
        "tr",
        el("td", el("code", clean(row.key_id, 80))),
        el("td", _whose(row.facts)),
        el("td", f"{row.events:,}", class_="figure"),
        el("td", usd(row.usd), class_="figure"),
        el("td", usd(row.refused_usd) if row.refused_usd else "", class_="figure"),
        el("td", *links),
    )


def _settings(settings: Sequence[Shown]) -> Markup:
    changed = [shown for shown in settings if shown.changed]
    summary = f"Settings in force: {len(changed)} changed, {len(settings) - len(changed)} at their default"
    head = el("tr", *[el("th", name, scope="col") for name in ("setting", "value", "what it does")])
    rows = [
        el("tr", el("td", el("code", shown.name)), el("td", shown.value), el("td", shown.meaning),
           class_="changed" if shown.changed else None)
        for shown in [*changed, *(shown for shown in settings if not shown.changed)]
    ]  # fmt: skip
    table = el("div", el("table", el("thead", head), el("tbody", *rows)), class_="wide")
    return joined(el("h2", "Settings"), el("details", el("summary", summary), table))


def _how_to_read(latency_s: float) -> Markup:
    lines = [
        "The events were played twice through the very code that watches live traffic: once as they were, once with "
        f"every mode taken as auto, where a cut takes effect {latency_s:g} s after its decision and later events of "
        "the key are refused.",
        "Lost is what a key spent from a minute before the first finding until the incident was over, less what it "
        "spent on average before. Without: nobody acts. With: until the cut.",
        "Refused counts everything after the cut: the thief's use, and the owner's own until a new key is in place.",
        "A family's figure says how rarely a healthy key shows the like within ten minutes: 6 is once in a million, "
        "one more is ten times rarer. A limit that people wrote down is certain and needs no figure.",
        "In the pictures grey is spend within the key's normal, orange is above it, and the blue band reaches up to "
        "the most that is normal for the key. A full number marks what changed the world, an empty one what did not.",
        "A key that the files show for the first time has no normal yet: feed some days before the incident too.",
        "All times are UTC.",
    ]
    return joined(el("h2", "How to read this"), _list(lines))


def _key_to_colours() -> Markup:
    words = joined(el("span", " ", class_="swatch spend"), " spent in both plays, ",
                   el("span", " ", class_="swatch saved"), " refused after a cut, ",
                   el("span", "1", class_="number"), " an incident opens")  # fmt: skip
    return el("p", words, class_="soft")


def _left_out(count: int) -> Part:
    return el("p", f"{count:,} further incidents that cost less are not shown.") if count else ""


def _list(lines: Sequence[str]) -> Part:
    return el("ul", *[el("li", line) for line in lines]) if lines else ""


def _whose(facts: KeyFacts) -> str:
    return f"{clean(facts.team, 40)}/{clean(facts.app, 40)} ({clean(facts.env, 20)}), {clean(facts.provider, 20)}"


def _tone(severity: Severity) -> str:
    return f"card {severity}"


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
