"""The story of an incident as one HTML page that loads nothing. What comes from outside is escaped. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from alerting.words import INCIDENT_WORDS, clean, span, usd
from schemas.records import rfc3339
from service.evidence_facts import Evidence
from service.evidence_story import Entry, pace
from service.markup import Markup, el
from storage.holds import newest

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE: Final = (
    ":root{color-scheme:light dark;--line:#8884;--soft:#8881}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.5rem;margin:0 0 .2rem;overflow-wrap:anywhere}p{margin:.4rem 0 1rem}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:1rem 0 1.5rem}"
    "dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.35rem .6rem;"
    "border-bottom:1px solid var(--line)}td:first-child{white-space:nowrap;font-variant-numeric:tabular-nums}"
    "td:nth-child(3){white-space:nowrap}td:last-child{overflow-wrap:anywhere}"
    "th.day{background:var(--soft);padding-top:.6rem}"
    ".k{display:inline-block;padding:0 .5rem;border-radius:1rem;border:1px solid currentColor;font-size:.85rem}"
    ".finding,.began{color:#b45309}.incident{color:#6d28d9}.command,.outcome{color:#b91c1c}.provider{color:#0369a1}"
    ".mark,.hold{color:#15803d}footer{margin-top:1.5rem;font-size:.9rem;opacity:.75}"
    "@media(prefers-color-scheme:dark){.finding,.began{color:#fbbf24}.incident{color:#c4b5fd}"
    ".command,.outcome{color:#fca5a5}.provider{color:#7dd3fc}.mark,.hold{color:#86efac}}"
    "@media(max-width:40rem){thead{display:none}tr{display:flex;flex-wrap:wrap;border-bottom:1px solid var(--line);"
    "padding:.3rem 0}td,th{border:0;padding:.1rem .4rem .1rem 0}td:last-child{flex-basis:100%}th.day{flex-basis:100%}}"
    "@media print{body{max-width:none;margin:0;font-size:12px}tr{break-inside:avoid}}"
)
_CLOCKS: Final = (
    "Findings, orders and the incident are in the time of the events. Outcomes, calls to the provider and what people "
    "said are by the clock of the machine that wrote them: where events came in late the two do not agree."
)


def page(evidence: Evidence, entries: list[Entry]) -> str:
    """The page, from the entries of `timeline`."""
    incident = evidence.incident
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width,initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("title", f"Incident {incident.incident_id}"),
        el("style", Markup(_STYLE)),
    )
    facts = [part for name, text in _facts(evidence) for part in (el("dt", name), el("dd", text))]
    names = el("thead", el("tr", *(el("th", name) for name in ("UTC", "what", "who", "in words"))))
    body = el(
        "body",
        el("h1", f"Incident {clean(incident.incident_id)}"),
        el("p", clean(incident.headline)),
        el("dl", *facts),
        el("table", names, el("tbody", *_rows(entries))),
        el("footer", _CLOCKS),
    )
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def _facts(evidence: Evidence) -> Iterator[tuple[str, str]]:
    incident, facts, told = evidence.incident, evidence.incident.facts, pace(evidence)
    yield "Key", clean(incident.key_id)
    yield "Owner", clean(f"{facts.team}/{facts.app} in {facts.env}, {facts.provider}", 120)
    yield "State", f"{INCIDENT_WORDS[incident.state]}, {incident.severity}, mode {incident.mode}"
    yield "Lost", f"{usd(incident.lost_usd)} above normal, of {usd(incident.acceptable_loss_usd)} acceptable"
    took = (
        ("detected after", told.detect_s), ("opened after", told.open_s), ("cut ordered after", told.contain_s),
        ("cut seen after", told.effective_s),
    )  # fmt: skip
    known = [f"{name} {span(seconds)}" for name, seconds in took if seconds is not None]
    yield "How fast", "; ".join(known) or "not known"
    held = [hold for hold in newest(evidence.holds) if not hold.released]
    words = [f"by {clean(hold.by)} since {_minute(hold.at_ms)}: {clean(hold.reason)}" for hold in held]
    yield "Legal hold", "; ".join(words) or "none"


def _rows(entries: list[Entry]) -> Iterator[Markup]:
    for day, group in groupby(entries, lambda entry: rfc3339(entry.at_ms)[:10]):
        yield el("tr", el("th", day, colspan=4, class_="day"))
        for entry in group:
            kind = el("span", entry.kind, class_=f"k {entry.kind}")
            words = clean(entry.words, 2000)
            time = rfc3339(entry.at_ms)[11:23]
            yield el("tr", el("td", time), el("td", kind), el("td", clean(entry.who)), el("td", words))


def _minute(ms: int) -> str:
    return f"{rfc3339(ms)[:16].replace('T', ' ')} UTC"
