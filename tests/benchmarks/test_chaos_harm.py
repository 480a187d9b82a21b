"""The chaos run: which ends of a process are right, whether it was broken enough, and the page that tells of it."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.chaos.ends import End, Outage, Told, by_fault, why_wrong, without_fault
from benchmarks.chaos.harm import broken, rows
from benchmarks.chaos.processes import Process
from benchmarks.chaos.report import BEGIN, END, block, with_block
from benchmarks.chaos.schedule import FULL
from benchmarks.chaos.traffic import Traffic, made_up
from benchmarks.chaos.workers import Workers
from tests.benchmarks.chaos_left import killed, perfect
from tests.integration.world import until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sent() -> Traffic:
    return made_up(7, seconds=40, thefts=1, partitions=4)


KILLED, ASKED = Told("a fault", "SIGKILL", "at work"), Told("a fault", "SIGTERM", "at work")
ASKED_EARLY, LEAVES = Told("a fault", "SIGTERM", "while starting"), Told("its supervisor", "SIGTERM", "at work")
NO_BROKER = "keyfuse: KafkaConnectionError: Unable to bootstrap; check that the broker runs"
AWAY = [Outage("broker is killed", 15, 25)]


@pytest.mark.parametrize(
    ("status", "told", "was_up", "words"),
    [
        (0, [ASKED], True, ""), (0, [LEAVES], True, ""), (0, [ASKED_EARLY], True, ""), (-9, [KILLED], True, ""),
        (-9, [LEAVES, KILLED], True, ""), (-15, [ASKED_EARLY], False, ""), (2, [], False, NO_BROKER),
        (2, [ASKED_EARLY], False, NO_BROKER),
    ],
)  # fmt: skip
def test_a_process_may_end_so(status: int, told: list[Told], was_up: bool, words: str) -> None:
    assert why_wrong(End(status, was_up, tuple(told), 10, 20, words), AWAY) is None


@pytest.mark.parametrize(
    ("status", "told", "was_up", "words", "away"),
    [
        (0, [], True, "", AWAY), (1, [KILLED], True, "", AWAY), (1, [], False, "keyfuse: this is a mistake", AWAY),
        (4, [], True, "", AWAY), (-9, [], True, "", AWAY), (-9, [ASKED], True, "", AWAY),
        (-15, [ASKED], True, "", AWAY), (-11, [ASKED], True, "", AWAY),
        (2, [], False, "Traceback", AWAY), (2, [], True, NO_BROKER, AWAY),
        (2, [], False, NO_BROKER, []), (2, [], False, NO_BROKER, [Outage("broker stops", 100, 105)]),
        (None, [LEAVES], True, "", AWAY),
    ],
)  # fmt: skip
def test_no_process_may_end_so(
    status: int | None, told: list[Told], was_up: bool, words: str, away: list[Outage]
) -> None:
    assert why_wrong(End(status, was_up, tuple(told), 10, 20, words), away) is not None


def test_a_process_that_two_faults_hit_is_one_that_ended() -> None:
    both = End(-9, was_up=True, told=(ASKED, KILLED._replace(state="while ending")), began_s=1, ended_s=2)
    left = End(0, was_up=True, told=(LEAVES,), began_s=1, ended_s=2)
    too_late = End(0, was_up=True, told=(ASKED, KILLED), began_s=1, ended_s=2)
    alone = End(2, was_up=False, told=(), began_s=1, ended_s=2)
    ends = [both, left, too_late, alone]
    assert by_fault(ends) == {"SIGKILL while ending": 1, "SIGTERM at work": 1}
    assert without_fault(ends) == {"told to leave": 1, "by itself with 2": 1}


def test_two_faults_never_end_the_same_process(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("keyfuse is up")
    ran = [Process(subprocess.Popen(["sleep", "60"]), log, 0) for _ in range(2)]
    workers = Workers([], "", {}, _running=dict(enumerate(ran)))

    async def hit_twice() -> None:
        until_s = asyncio.get_running_loop().time() + 60
        await asyncio.gather(workers.hit(0, "SIGTERM", until_s), workers.hit(0, "SIGKILL", until_s))
        await until(lambda: all(process.exit_status() is not None for process in ran), "both end")

    asyncio.run(hit_twice())
    assert by_fault(process.end() for process in ran) == {"SIGTERM at work": 1, "SIGKILL at work": 1}


def test_a_full_run_on_too_few_workers_is_not_broken_enough(sent: Traffic) -> None:
    least = FULL.least
    left = replace(
        perfect(sent), ends=[killed()] * least.ended, rebalances=Counter({1: 9, 2: 12, 3: 9}),
        outages=[Outage("store is unreachable", 5, 5 + FULL.store_away_s)],
    )  # fmt: skip
    assert broken(left, FULL).wrong == ()
    assert broken(replace(left, rebalances=Counter({1: 15, 2: 15})), FULL).wrong == ("no rebalance left 3 workers",)
    assert rows(left)["processes that faults ended"] == "100: SIGKILL at work 100"


def test_a_page_shows_the_run_that_was_last() -> None:
    machine = {"cores": 2, "cpu": "a processor", "load_1m": 3.4}
    new = block("python -m benchmarks.chaos --seed 1", machine, 749, 0, "| a | b |")
    page = with_block(f"before\n{BEGIN}old\n{END}\nafter\n", new)
    assert page == f"before\n{BEGIN}{new}{END}\nafter\n"
    assert new.startswith("`python -m benchmarks.chaos --seed 1` on 2 cores")
    assert "12 minutes 29 s, wrong: 0" in new
    assert with_block(page, new) == page
    with pytest.raises(ValueError, match="chaos"):
        with_block("no marks", new)


def test_the_page_of_reliability_has_a_place_for_a_run() -> None:
    new = "what a run came to"
    assert with_block((ROOT / "docs" / "reliability.md").read_text(), f"{new}\n").count(new) == 1
