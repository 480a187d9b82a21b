"""How long `hold` and `unhold` wait for the archive: until it has acted, and two more seconds for the count."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.evidence import Hold
from service import hold_commands
from service.config_tree import Folder
from service.hold_answers import Standing
from service.hold_commands import heard
from service.install import Install
from tests.storage.test_holds import HOLD, RELEASED


class Archive:
    """Answers as of a clock that only sleep moves: (from this second on, whether it has acted, events it counts)."""

    def __init__(self, said: Hold, *acts: tuple[float, bool, int]) -> None:
        self.now_s, self._said, self._acts = 0.0, said, acts

    def answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hold_commands, "standings", self.standings)
        monkeypatch.setattr(hold_commands, "time", SimpleNamespace(monotonic=self.monotonic, sleep=self.sleep))

    def standings(self, _install: Install) -> list[Standing]:
        reached = [act for act in self._acts if act[0] <= self.now_s + 1e-9]
        return [self._standing(kept=kept, events=events) for _, kept, events in reached[-1:]]

    def _standing(self, *, kept: bool, events: int) -> Standing:
        return Standing(
            hold=self._said, said=(self._said,), since_ms=0, until_ms=None, events=events, missing=0, kept=kept,
            checks=0,
        )  # fmt: skip

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def install(tmp_path: Path) -> Install:
    return Install(Folder(), tmp_path, environ={})


@pytest.mark.parametrize(
    ("said", "acts", "events", "waited_s"),
    [
        pytest.param(HOLD, [(0, True, 41)], 41, 0, id="counted at once"),
        pytest.param(HOLD, [(0, False, 0), (3, True, 41)], 41, 3, id="acted on later"),
        pytest.param(HOLD, [(0, True, 0), (1.2, True, 41)], 41, 1.2, id="counted a moment after it acted"),
        pytest.param(HOLD, [(3, True, 0)], 0, 5, id="two seconds after it acted none is none"),
        pytest.param(RELEASED, [(0.6, True, 0)], 0, 0.6, id="a release counts nothing"),
    ],
)
def test_it_is_told_as_soon_as_it_is_counted(
    install: Install, monkeypatch: pytest.MonkeyPatch, said: Hold, acts: list[tuple[float, bool, int]], events: int,
    waited_s: float,
) -> None:  # fmt: skip
    archive = Archive(said, *acts)
    archive.answers(monkeypatch)
    found = heard(install, said, wait_s=30)
    assert found is not None
    assert found.events == events
    assert waited_s <= archive.now_s + 1e-9 < waited_s + 0.5


@pytest.mark.parametrize(
    "acts",
    [
        pytest.param([], id="it never hears of it"),
        pytest.param([(0, False, 0)], id="it does not act"),
        pytest.param([(3.5, True, 0)], id="it acts so late that there is no time to count"),
    ],
)
def test_after_the_wait_nothing_is_told(
    install: Install, monkeypatch: pytest.MonkeyPatch, acts: list[tuple[float, bool, int]]
) -> None:
    archive = Archive(HOLD, *acts)
    archive.answers(monkeypatch)
    assert heard(install, HOLD, wait_s=4) is None
    assert 4 <= archive.now_s < 4.5


def test_an_earlier_word_on_the_same_hold_is_not_taken_for_this_one(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(HOLD, (0, True, 41))
    archive.answers(monkeypatch)
    assert heard(install, RELEASED, wait_s=1) is None
