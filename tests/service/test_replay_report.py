"""`keyfuse replay --report`: one page that needs nothing else, with figures that add up and no foreign HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from schemas.config import DetectorsConfig
from schemas.config.responses import ResponsesConfig
from schemas.fingerprint import Fingerprinter
from service.cli import app
from service.config_tree import Folder
from service.markup import el
from service.replay import Replay, ReplayResult, read_events
from service.replay_report_chart import timeline
from service.replay_report_facts import Facts, Timeline, gather
from service.replay_report_page import CARDS_MOST, page
from service.replay_report_settings import shown
from service.simulate import traffic
from sources.batch import BatchParser
from sources.pricing import PriceBook

END_MS = 1_795_478_400_000
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
VOID = {"meta", "img", "br", "line", "rect", "circle"}


class Plays:
    """The same events played both ways."""

    def __init__(self, events: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
        parser = BatchParser(fingerprinter=Fingerprinter(SecretStr("p")), prices=PriceBook(), max_future_s=None)
        self.table, _ = read_events([orjson.dumps(event) for event in events], parser)
        self.without, self.with_cuts = (self._play(closed=closed) for closed in (False, True))
        self.facts = gather(self.table, self.without, self.with_cuts)

    def _play(self, *, closed: bool) -> ReplayResult:
        return Replay(Folder(), offered={}, closed_loop=closed).run(self.table)


class Reader(HTMLParser):
    """What a browser would make of it: every element, every attribute, and whether all are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def drawn(facts: Facts, **how: Any) -> str:
    given: dict[str, Any] = {"files_named": ["day.jsonl"], "latency_s": 5.0, "draw": lambda _: b"png"}
    return page(facts, shown(Folder()), **(given | how))


@pytest.fixture(scope="module")
def theft() -> Plays:
    return Plays(traffic(keys=6, minutes=16, theft="burst", seed=1, end_ms=END_MS))


@pytest.fixture(scope="module")
def hostile() -> Plays:
    """A stolen key whose every text wants to be HTML."""
    quiet = {"provider": EVIL, "model": EVIL, "key_id": EVIL, "team": EVIL, "app": EVIL, "env": EVIL, "endpoint": EVIL,
             "user_agent": EVIL, "country": EVIL, "status": 200, "requests": 1}  # fmt: skip
    start = END_MS - 3_600_000
    calm = [quiet | {"ts": start + 60_000 * n, "cost_usd": 0.01, "event_id": f"a{n}"} for n in range(50)]
    loud = [quiet | {"ts": start + 3_000_000 + 500 * n, "cost_usd": 1.0, "event_id": f"b{n}", "model": f"{EVIL}{n % 2}",
                     "ip": "203.0.113.9"} for n in range(300)]  # fmt: skip
    return Plays([*calm, *loud])


def test_the_figures_add_up(theft: Plays) -> None:
    facts = theft.facts
    spent = theft.table["cost_nano_usd"].to_numpy().sum() / 1e9
    assert (facts.keys, facts.events) == (theft.without.keys, theft.table.num_rows) == (4, 2141)
    assert facts.usd == pytest.approx(spent)
    assert sum(facts.timeline.happened) + sum(facts.timeline.refused) == pytest.approx(spent)
    assert sum(facts.timeline.happened) == pytest.approx(theft.with_cuts.usd)
    assert sum(row.usd for row in facts.top_keys) == pytest.approx(spent)
    assert sum(card.refused_events for card in facts.cards) == theft.with_cuts.dropped_events


def test_a_cut_saves_most_of_a_theft(theft: Plays) -> None:
    [card] = theft.facts.cards
    assert card.cut is not None
    assert theft.facts.cuts == 1
    assert card.cost_with_usd < 0.2 * card.cost_without_usd
    mine = np.array(theft.table["key_id"].to_pylist()) == card.incident.key_id
    late = theft.table["ts_ms"].to_numpy() >= card.incident.opened_at_ms - 60_000
    spent = theft.table["cost_nano_usd"].to_numpy()[mine & late].sum() / 1e9
    assert 0.9 * spent < card.cost_without_usd <= spent


def test_traffic_without_incidents_has_a_page_too() -> None:
    quiet = Plays([{"ts": END_MS + 60_000 * n, "key_id": "k", "provider": "openai", "model": "gpt-4.1-mini",
                    "cost_usd": 0.001, "event_id": f"e{n}"} for n in range(20)])  # fmt: skip
    assert quiet.facts.cards == ()
    assert "Nothing suspicious" in drawn(quiet.facts)


def test_one_event_is_enough() -> None:
    one = Plays([{"ts": END_MS, "key_id": "k", "provider": "openai", "model": "m", "cost_usd": 0.0, "event_id": "e"}])
    assert one.facts.timeline.happened == (0.0,)
    Reader(drawn(one.facts))


def test_the_page_needs_nothing_else(theft: Plays) -> None:
    read = Reader(drawn(theft.facts))
    assert read.open == []
    assert not read.names & {"script", "link", "iframe", "object", "form", "base", "embed"}
    outside = [value for _, name, value in read.attributes if name in {"src", "href"}]
    assert outside
    assert all(value.startswith(("data:image/png;base64,", "#incident-")) for value in outside)
    assert "url(" not in drawn(theft.facts)
    assert any("default-src 'none'" in value for _, _, value in read.attributes)


def test_every_link_leads_somewhere(theft: Plays) -> None:
    read = Reader(drawn(theft.facts))
    targets = {f"#{value}" for _, name, value in read.attributes if name == "id"}
    assert {value for _, name, value in read.attributes if name == "href"} <= targets


def test_hostile_texts_stay_texts(hostile: Plays) -> None:
    assert hostile.facts.cards, "otherwise nothing hostile would be on the page"
    text = drawn(hostile.facts, files_named=[EVIL])
    read = Reader(text)
    assert read.open == []
    assert "script" not in read.names
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert sum("<script>alert(1)</script>" in words for words in read.words) > 3, "they are shown, as text"


def test_the_page_says_what_was_found(theft: Plays) -> None:
    [card] = theft.facts.cards
    words = " ".join(Reader(drawn(theft.facts)).words)
    for expected in (
        "What Keyfuse would have found", "lost without Keyfuse", "lost with Keyfuse", card.incident.headline,
        card.incident.key_id, "disable at the provider: confirmed", "How to read this", "detectors.yaml",
        *card.incident.families,
    ):  # fmt: skip
        assert expected in words, expected


def test_the_same_plays_give_the_same_page(theft: Plays) -> None:
    again = gather(theft.table, theft.without, theft.with_cuts)
    assert drawn(again) == drawn(theft.facts)


def test_cards_are_bounded_and_the_dearest_are_shown(theft: Plays) -> None:
    [card] = theft.facts.cards
    many = [card._replace(cost_without_usd=float(n), incident=card.incident.model_copy(update={"headline": f"no {n}."}))
            for n in range(CARDS_MOST + 5)]  # fmt: skip
    facts = Facts(**{**theft.facts.__dict__, "cards": tuple(many)})
    text = drawn(facts)
    assert text.count("<article") == CARDS_MOST
    assert "no 4." not in text
    assert "no 5." in text
    assert "5 further incidents" in text


def test_settings_that_differ_are_told_first_and_no_secret_is_among_them() -> None:
    folder = Folder(
        detectors=DetectorsConfig.model_validate({"velocity": {"hour_weight": 0.5}, "keys": {"k": {"usd_per_min": 3}}}),
        responses=ResponsesConfig(mode="auto"),
    )
    rows = shown(folder)
    changed = {row.name: row.value for row in rows if row.changed}
    assert changed == {
        "detectors.yaml velocity.hour_weight": "0.5", "detectors.yaml keys": '{"k":{"usd_per_min":3.0}}',
        "responses.yaml mode": "auto",
    }  # fmt: skip
    assert {row.name.split()[0] for row in rows} == {
        "detectors.yaml",
        "responses.yaml",
        "budgets.yaml",
        "policies.yaml",
    }
    assert next(row for row in rows if row.name.endswith("hour_weight")).meaning


@pytest.mark.parametrize("bars", [1, 2, 7, 149, 150])
@pytest.mark.parametrize("step_ms", [60_000, 3_600_000, 86_400_000])
def test_any_timeline_can_be_drawn(bars: int, step_ms: int) -> None:
    spend = Timeline(END_MS // step_ms * step_ms, step_ms, tuple(float(n % 3) for n in range(bars)), (0.5,) * bars)
    marks = [(n + 1, END_MS + n * 1000) for n in range(100)]
    text = timeline(spend, marks)
    Reader(text)
    heights = [float(height) for height in re.findall(r'height="([0-9.]+)"', text)]
    assert len(heights) == sum(value > 0 for value in spend.happened) + bars
    labels = re.findall(r">([A-Z][a-z]{2} \d\d, )?(\d\d:\d\d)<", text)
    assert len(labels) <= 6


def test_traffic_without_a_price_has_a_scale_that_people_can_read() -> None:
    drawn = str(timeline(Timeline(END_MS, 60_000, (0.0, 0.0), (0.0, 0.0)), []))

    assert re.findall(r">\$([^<]+)<", drawn) == ["0", "0.005", "0.01"]


def test_an_element_escapes_what_is_not_markup() -> None:
    assert el("p", EVIL, el("b", "x"), title=EVIL).count("<") == 4


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    events = traffic(keys=4, minutes=8, theft="burst", seed=2, end_ms=END_MS)
    source, target = tmp_path / "day.jsonl", tmp_path / "report.html"
    source.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events))
    out = tmp_path / "out.ndjson"
    told = CliRunner().invoke(app, ["replay", str(source), "--out", str(out), "--report", str(target)])
    assert told.exit_code == 0, told.output
    read = Reader(target.read_text())
    pictures = [value for tag, name, value in read.attributes if (tag, name) == ("img", "src")]
    assert pictures
    assert all(value.startswith("data:image/png;base64,iVBOR") for value in pictures)
    assert str(tmp_path) not in target.read_text(), "where the files lie is nobody's business"
    assert out.read_bytes()


@pytest.mark.parametrize("report", ["{source}", "{out}", "{folder}", "{folder}/none/x.html"])
def test_a_report_that_cannot_be_written_is_said_before_the_work(tmp_path: Path, report: str) -> None:
    source, out = tmp_path / "day.jsonl", tmp_path / "out.ndjson"
    source.write_text("{}\n")
    out.touch()
    where = report.format(source=source, out=out, folder=tmp_path)
    told = CliRunner().invoke(app, ["replay", str(source), "--out", str(out), "--report", where])
    assert told.exit_code != 0
    assert source.read_text() == "{}\n"
    assert out.read_text() == ""
