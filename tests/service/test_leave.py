"""A process whose work is done ends, with its exit code, whatever its libraries have left behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

_WORK = """
import asyncio, threading
from service.errors import UserError
from service.leave import run_and_leave

async def deaf():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def task_left():
    global kept
    kept = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    return 0

async def thread_left():
    threading.Thread(target=threading.Event().wait).start()
    return 4

async def sentence_left():
    await task_left()
    raise UserError("no broker at 127.0.0.1:1")

async def mistake_left():
    await task_left()
    raise ZeroDivisionError("a mistake of ours")

async def nothing_left():
    return 3

raise SystemExit(run_and_leave({name}(), within_s={within_s}))
"""


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("task_left", 0, "ended by force"),
        ("thread_left", 4, "ended by force"),
        ("sentence_left", 2, "no broker at 127.0.0.1:1"),
        ("mistake_left", 1, "ZeroDivisionError: a mistake of ours"),
    ],
)
def test_what_does_not_end_is_ended_and_told(name: str, code: int, words: str) -> None:
    ended = _run(name, within_s=0.1)
    assert (ended.returncode, words in ended.stdout + ended.stderr) == (code, True)


def test_a_process_with_nothing_left_ends_by_itself() -> None:
    ended = _run("nothing_left", within_s=3600)
    assert (ended.returncode, ended.stdout) == (3, "")


def _run(name: str, *, within_s: float) -> subprocess.CompletedProcess[str]:
    work = _WORK.replace("{name}", name).replace("{within_s}", str(within_s))
    return subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, timeout=60, check=False)
