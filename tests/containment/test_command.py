"""What only a program does: it starts, hangs, talks too much, leaves children, dies."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from containment.providers.command import MAX_BYTES, CommandProvider
from containment.providers.errors import Reason, Refused, Retryable
from tests.containment.own_benches import DECLARED

SECRET = SecretStr("plainly-secret")
Make = Callable[..., CommandProvider]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A provider whose program is a few lines of shell."""

    def make(script: str, *, secret: SecretStr = SECRET, timeout_s: float = 5) -> CommandProvider:
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        return CommandProvider("ours", secret, DECLARED, argv=(str(path), "-x", "two words"), timeout_s=timeout_s)

    return make


async def test_the_message_comes_on_standard_input_and_nothing_else_does(make: Make, tmp_path: Path) -> None:
    got = tmp_path / "got"
    provider = make(f'cat > {got}; echo "$@" >> {got}; echo \'{{"state": "applied"}}\'')
    await provider.undo("disable", "k-1", {"was": "gold"})
    message, arguments = got.read_bytes().split(b"}-x ")
    assert json.loads(message + b"}") == {
        "version": 1, "action": "undo", "provider": "ours", "ref": "k-1", "step": "disable", "scope": "key",
        "pre_state": {"was": "gold"},
    }  # fmt: skip
    assert arguments == b"two words\n"


async def test_a_reference_is_never_read_by_a_shell(make: Make, tmp_path: Path) -> None:
    ref = f"k-1'; touch {tmp_path}/owned; $(touch {tmp_path}/owned)\n`touch {tmp_path}/owned`"
    provider = make(f'cat > {tmp_path}/got; echo \'{{"state": "applied"}}\'')
    await provider.apply("disable", ref)
    assert json.loads((tmp_path / "got").read_bytes())["ref"] == ref
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(("secret", "names"), [("plainly-secret", "KEYFUSE_SECRET,LANG,PATH"), ("", "LANG,PATH")])
async def test_its_environment_is_clean(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secret: str, names: str
) -> None:
    monkeypatch.setenv("OTHER_ADMIN_KEY", "not-for-you")
    monkeypatch.setenv("LD_PRELOAD", "")
    provider = make(f'env > {tmp_path}/env; echo \'{{"state": "applied"}}\'', secret=SecretStr(secret))
    await provider.apply("disable", "k-1")
    found = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    by_the_shell = {"PWD", "OLDPWD", "_", "SHLVL"}
    assert ",".join(sorted(set(found) - by_the_shell)) == names
    assert found.get("KEYFUSE_SECRET", "") == secret


async def test_one_that_hangs_is_killed_with_everything_it_started(make: Make, tmp_path: Path) -> None:
    provider = make(f"sleep 60 & echo $! $$ > {tmp_path}/pids; wait", timeout_s=0.5)
    with pytest.raises(Retryable) as caught:
        await provider.apply("disable", "k-1")
    assert caught.value.reason is Reason.TIMEOUT
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    await until(lambda: not any(map(_alive, pids)))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a process outside sets no event
            await asyncio.sleep(0.01)


def _alive(pid: int) -> bool:
    """A dead one that nobody has waited for yet counts as dead."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


async def test_one_that_does_not_read_what_it_is_told_can_still_answer(make: Make) -> None:
    provider = make('exec <&-; echo \'{"state": "applied"}\'')
    assert await provider.apply("disable", "k" * 500_000) == "your automation says applied"


async def test_one_that_talks_without_end_is_not_kept_in_memory(make: Make) -> None:
    provider = make(f"head -c {50 * MAX_BYTES} /dev/zero; head -c {50 * MAX_BYTES} /dev/zero >&2")
    with pytest.raises(Retryable) as caught:
        await provider.apply("disable", "k-1")
    assert caught.value.reason is Reason.NONSENSE


@pytest.mark.parametrize(
    ("script", "reason", "retry_after_s"),
    [
        ("exit 1", Reason.UNAVAILABLE, None),
        ("kill -9 $$", Reason.UNAVAILABLE, None),
        ("echo nonsense; exit 3", Reason.UNAVAILABLE, None),
        ("""echo '{"error": "made_up"}'; exit 3""", Reason.UNAVAILABLE, None),
        ("""echo '{"error": ["final"]}'; exit 3""", Reason.UNAVAILABLE, None),
        ("""echo '{"error": "rate_limited", "retry_after_s": 7}'; exit 3""", Reason.RATE_LIMITED, 7.0),
        ("""echo '{"error": "rate_limited", "retry_after_s": -7}'; exit 3""", Reason.RATE_LIMITED, None),
        ("""echo '{"error": "rate_limited", "retry_after_s": true}'; exit 3""", Reason.RATE_LIMITED, None),
        ("""echo '{"error": "rate_limited", "retry_after_s": NaN}'; exit 3""", Reason.RATE_LIMITED, None),
        ("""echo '{"state": "applied"}'; exit 3""", Reason.UNAVAILABLE, None),
    ],
)
async def test_a_failure_that_may_pass_is_tried_again(
    make: Make, script: str, reason: Reason, retry_after_s: float | None
) -> None:
    with pytest.raises(Retryable) as caught:
        await make(script).apply("disable", "k-1")
    assert (caught.value.reason, caught.value.retry_after_s) == (reason, retry_after_s)


@pytest.mark.parametrize("reason", ["unknown_key", "bad_credentials", "forbidden", "rejected", "final"])
async def test_a_failure_that_it_names_as_final_is_not(make: Make, reason: str) -> None:
    with pytest.raises(Refused, match="ended with 4: the vault is sealed") as caught:
        await make(f"""echo '{{"error": "{reason}", "words": "the vault is sealed"}}'; exit 4""").apply(
            "disable", "k-1"
        )
    assert caught.value.reason == reason


async def test_what_it_complains_of_is_shown_without_keys(make: Make) -> None:
    with pytest.raises(Retryable, match="cannot reach the portal") as caught:
        await make('echo "cannot reach the portal with $KEYFUSE_SECRET sk-proj-abcdefghijkl" >&2; exit 1').snapshot(
            "k-1"
        )
    assert "plainly-secret" not in str(caught.value)
    assert "abcdefghijkl" not in str(caught.value)


@pytest.mark.parametrize("argv", [("/nowhere/at/all",), ("/etc/hostname",), ("/tmp",)])
async def test_one_that_cannot_be_started_is_said_so_once(argv: tuple[str, ...]) -> None:
    provider = CommandProvider("ours", SECRET, DECLARED, argv=argv)
    with pytest.raises(Refused, match="cannot be started"):
        await provider.apply("disable", "k-1")


async def test_a_call_given_up_from_outside_leaves_nothing_running(make: Make, tmp_path: Path) -> None:
    provider = make(f"echo $$ > {tmp_path}/pid; exec sleep 60", timeout_s=60)
    call = asyncio.create_task(provider.apply("disable", "k-1"))
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not _alive(int((tmp_path / "pid").read_text()))
