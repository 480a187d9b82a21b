"""The message on a terminal."""

from __future__ import annotations

from alerting.message import plain
from schemas.records import StepState
from tests.alerting.world import incident, shown_step


def test_the_whole_message() -> None:
    steps = (
        shown_step("throttle", StepState.REFUSED, detail="caps: 5 keys in ten minutes"),
        shown_step(by="ada", automatic=False),
    )
    text = plain(incident(state="contained", seq=3, steps=steps, transition="Contained."))
    assert (
        text
        == """\
CRITICAL, contained: openai key fp1:0123456789abcdef of search/ranker (prod)
  Spends $3.00/min, normally $0.10: seen on one of 10^9 healthy keys.

  Key              fp1:0123456789abcdef
  Owner            team search, app ranker, env prod
  Spends now       $3.00/min, normally $0.10/min
  Lost so far      $2.90 above normal
  Acceptable loss  $100.00
  Mode             auto
  Incident         inc_1, opened 2026-11-23T10:00:00.000Z
  What to do       docs/runbooks/velocity.md

  velocity: Spends $3.00/min, normally $0.10: seen on one of 10^9 healthy keys.
  economics: Pays $0.40 per request, normally $0.01.

  throttle: refused by a safety rule (automatic, can be undone): caps: 5 keys in ten minutes
  disable at the provider: confirmed (by ada, can be undone)

  2026-11-23T10:00:00.000Z Contained."""
    )


def test_no_foreign_text_can_write_on_the_terminal() -> None:
    text = plain(incident(headline="\x1b[2J\x07gone\r\nCRITICAL fake", transition="\u202eevil"))
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(text)
    assert "gone CRITICAL fake" in text


def test_an_incident_opened_by_hand_has_no_reasons() -> None:
    assert "\n\n\n" not in plain(incident(families=(), reasons={}, steps=()))
