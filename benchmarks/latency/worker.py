"""`keyfuse worker` as installed, and the configuration folder of one that is measured."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import yaml

from benchmarks.broker import PARTITIONS
from benchmarks.latency.load import thief
from schemas.signing import Signer, private_key_from
from service.secrets import COMMANDS_KEY

_BROAD: Final = {
    "per_10min_keys": 1_000_000, "per_10min_share": 1, "per_day_share": 1, "freeze_share": 1,
    "freeze_min_keys": 1_000_000, "cooldown_s": 0,
}  # fmt: skip


def write_folder(folder: Path, *, bootstrap: str, prefix: str, hook: str, thieves: int) -> None:
    """A configuration in which each planted key may be cut at once."""
    signing_key = private_key_from(secrets.token_bytes(32))
    wiring = {
        "commands": {"public_keys": [Signer(signing_key).public_key]},
        "data_dir": str(folder / "data"), "pepper_file": str(folder / "pepper"),
        "kafka": {"bootstrap": bootstrap, "topic_prefix": prefix, "partitions": PARTITIONS},
        "store": {"dsn": f"chdb://{folder}/store"},
        "providers": {"own": {
            "kind": "webhook", "base_url": hook, "secret_env": "BENCH_HOOK",
            "steps": {"disable": {"reversible": True, "typical_s": 1}},
        }},
    }  # fmt: skip
    keys = [
        {
            "key_id": thief(n), "provider": "own", "provider_ref": thief(n),
            "team": "search", "app": "shop", "env": "prod",
        }
        for n in range(thieves)
    ]  # fmt: skip
    responses = {"mode": "auto", "caps": _BROAD, "retry": {"verify_s": 5}}
    for name, what in (("keyfuse", wiring), ("keys", {"keys": keys}), ("responses", responses)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(what))
    (folder / "data").mkdir()
    (folder / "data" / COMMANDS_KEY).write_text(signing_key.get_secret_value())
    (folder / "data" / COMMANDS_KEY).chmod(0o600)
    (folder / "pepper").write_text("benchmark pepper, not secret")
    (folder / "pepper").chmod(0o600)


@asynccontextmanager
async def worker(folder: Path, roles: str) -> AsyncIterator[int]:
    """`keyfuse worker`, as installed; gives its process id."""
    secret = "whsec_" + base64.b64encode(b"secret of the benchmark").decode()
    keyfuse = Path(sys.executable).parent / "keyfuse"
    process = await asyncio.create_subprocess_exec(
        str(keyfuse), "worker", "--role", roles, "--config", str(folder),
        env=os.environ | {"BENCH_HOOK": secret}, stdout=subprocess.DEVNULL, stderr=(folder / f"{roles}.log").open("wb"),
    )  # fmt: skip
    try:
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
