"""The picture of an incident: what it shows, that it is small, the same each time, and safe from foreign text."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alerting.moments import moments
from alerting.picture import Series, caption, panels, picture
from schemas.records import Incident, KeyFacts, Scaled, StepState
from tests.alerting.world import T0_MS, incident, ms, shown_step, sketched

ABOVE, NORMAL, BAND = (213, 94, 0), (107, 120, 133), (215, 235, 248)


def drawn(one: Incident) -> Image.Image:
    png = picture(one)
    assert png is not None
    assert png.startswith(b"\x89PNG")
    assert len(png) < 60_000
    return Image.open(io.BytesIO(png)).convert("RGB")


def colours(image: Image.Image) -> dict[tuple[int, int, int], int]:
    return {colour: count for count, colour in image.getcolors(1 << 20)}  # type: ignore[union-attr,misc]


def shown(**changes: Any) -> Incident:
    return incident(sketch=sketched(), opened_at_ms=ms(20), **changes)


def test_a_burst_stands_out_above_the_band_of_the_normal() -> None:
    seen = colours(drawn(shown()))
    assert all(seen.get(colour, 0) > 300 for colour in (ABOVE, NORMAL, BAND)), seen


def test_a_key_within_its_normal_has_nothing_above_it() -> None:
    quiet = sketched(minutes=Scaled.of([0.5] * 60), tens=Scaled.of([0.4] * 144))
    assert ABOVE not in colours(drawn(incident(sketch=quiet)))


def test_a_new_key_has_no_band() -> None:
    new = sketched(minutes=Scaled.of([0.0] * 58 + [3.0, 21.0]), tens=Scaled.of([2.4]), by_hour=Scaled.of([-1.0] * 24),
                   peak_1m=0.0, peak_10m=0.0, windows=0)  # fmt: skip
    seen = colours(drawn(incident(sketch=new)))
    assert BAND not in seen
    assert ABOVE not in seen
    assert NORMAL in seen


def test_it_is_opaque_white_and_of_one_size() -> None:
    image = drawn(shown())
    assert image.size == (960, 510)
    assert image.getpixel((2, 2)) == (255, 255, 255)


def test_the_same_incident_gives_the_same_bytes() -> None:
    assert picture(shown()) == picture(Incident.from_bytes(shown().to_bytes()))


def test_another_state_gives_another_picture() -> None:
    assert picture(shown()) != picture(shown(state="contained", steps=(shown_step(),)))


def test_an_incident_without_a_sketch_has_no_picture() -> None:
    assert picture(incident()) is None


@pytest.mark.parametrize(
    "evil", ["$\\frac{1}{0}$", "<script>alert(1)</script>", "日本語 \U0001f511", "\x1b[2J\n\u202e", "x" * 5000, "$"]
)
def test_foreign_text_stays_text(evil: str) -> None:
    facts = KeyFacts(provider=evil, team=evil, app=evil, env=evil)
    drawn(shown(key_id=evil, facts=facts, steps=(shown_step(detail=evil, by=evil),)))


def test_the_caption_says_what_cannot_be_seen() -> None:
    assert caption(shown()) == (
        "Spend of key fp1:0123456789abcdef, search/ranker (prod), over its last hours: "
        "open: spends $3.00 a minute, normally $0.10."
    )


def test_the_last_hour_is_by_minute_and_the_day_before_it_by_ten() -> None:
    day, hour = panels(sketched(), moments(shown()))
    assert (day.step_min, hour.step_min) == (10.0, 1.0)
    assert day.begin_min < -1300 < day.end_min == hour.begin_min
    assert hour.end_min == 1.0
    assert len(hour.spend) == 60
    assert _bars_end(day) - hour.begin_min < 10, "no gap, and no more than one bar shown twice"


def _bars_end(panel: Series) -> float:
    assert panel.bars_end_min >= panel.end_min
    return panel.bars_end_min


def test_a_step_after_the_last_minute_widens_the_hour_within_bounds() -> None:
    for at_s, end_min in ((95, 1.0), (95 + 300, 6.0), (95 + 9000, 15.0)):
        marks = moments(shown(steps=(shown_step(at_ms=ms(at_s)),)))
        assert panels(sketched(), marks)[1].end_min == end_min


def test_the_moments_are_the_first_finding_and_the_newest_steps_in_time_order() -> None:
    steps = (
        *(shown_step(command_id=f"c{n}", at_ms=ms(100 - n)) for n in range(9)),
        shown_step("block", StepState.SUPERSEDED, command_id="old", at_ms=ms(500)),
        shown_step("throttle", StepState.DRY_RUN, command_id="dry", at_ms=ms(300)),
    )
    told = moments(incident(steps=steps, opened_at_ms=T0_MS))
    assert [moment.words for moment in told] == ["first suspicious", "disabled", "disabled", "throttle: dry run"]
    assert [moment.at_ms for moment in told] == sorted(moment.at_ms for moment in told)
    assert [moment.done for moment in told] == [False, True, True, False]


AMOUNTS = st.one_of(st.just(0.0), st.floats(1e-9, 1e9), st.just(-1.0))


@settings(max_examples=8, deadline=None)
@given(
    minutes=st.lists(AMOUNTS.filter(lambda v: v >= 0), min_size=1, max_size=60),
    tens=st.lists(AMOUNTS, max_size=144),
    by_hour=st.one_of(st.just([]), st.lists(AMOUNTS, min_size=24, max_size=24)),
    peak=st.floats(0, 1e9),
    at_s=st.integers(0, 86_400),
    opened_s=st.integers(-200_000, 90_000),
)
def test_whatever_a_key_did_can_be_drawn(
    minutes: list[float], tens: list[float], by_hour: list[float], peak: float, at_s: int, opened_s: int
) -> None:
    sketch = sketched(
        at_ms=ms(at_s), minutes=Scaled.of(minutes), tens=Scaled.of(tens), by_hour=Scaled.of(by_hour),
        peak_1m=peak, peak_10m=peak / 3,
    )  # fmt: skip
    drawn(incident(sketch=sketch, opened_at_ms=ms(opened_s)))
