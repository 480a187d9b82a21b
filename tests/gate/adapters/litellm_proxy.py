"""LiteLLM's real proxy, started from its own environment (`make setup` makes it beside ours)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest
import yaml

from service.tansu import free_port
from tests.integration.world import until

GATEWAYS: Final = Path(sys.prefix) / "gateways" / "bin"
ROOT: Final = Path(__file__).parents[3]
MASTER: Final = "sk-master-of-the-tests"
NAMES: Final = {"dear": "gpt-4o", "cheap": "gpt-4o-mini", "embed": "text-embedding-3-small"}
_START_S: Final = 120.0  # seven seconds of work, on a machine that may be busy


def skip_without(program: str) -> Path:
    """The program in the gateways' environment. Skips without it, but never in CI, where `make setup` has made it."""
    found = GATEWAYS / program
    if not found.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{found} is missing: `make setup` makes it", pytrace=False)
        pytest.skip(f"no {program}: `make setup` makes the gateways' environment")
    return found


def config(upstream: str, names: Mapping[str, str]) -> str:
    """What the documentation shows, word by word, with models of the test's own: a name → the provider's model."""
    shown = yaml.safe_load((ROOT / "docs/gate.md").read_text().split("```yaml\n")[1].split("```")[0])

    def model(name: str, **params: str) -> dict[str, object]:
        return {"model_name": name, "litellm_params": {"api_key": "x", **params}}

    return yaml.safe_dump(
        {
            "model_list": [
                model(name, model=f"openai/{behind}", api_base=f"{upstream}/v1") for name, behind in names.items()
            ],
            "litellm_settings": shown["litellm_settings"] | {"num_retries": 0},
            "general_settings": shown["general_settings"],
        }
    )


@asynccontextmanager
async def proxies(
    folder: Path, upstream: str, *variants: dict[str, str], names: Mapping[str, str] = NAMES
) -> AsyncIterator[list[str]]:
    """The address of one proxy for each environment given."""
    skip_without("litellm")
    path, log = folder / "litellm.yaml", folder / "litellm.log"
    path.write_text(config(upstream, names))
    ports = [free_port() for _ in variants]
    asked = [{"port": port, "env": env} for port, env in zip(ports, variants, strict=True)]
    env = {
        "PYTHONPATH": str(ROOT),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MASTER_KEY": MASTER,
        "HOME": str(folder),
        "PATH": os.defpath,
    }
    command = [str(GATEWAYS / "python"), str(Path(__file__).with_name("run_proxies.py")), str(path), json.dumps(asked)]
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            command, env=env, cwd=folder, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
        )
    try:
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        async with httpx.AsyncClient() as http:
            for url in urls:
                await until(partial(_up, http, url, process), lambda: log.read_text()[-3000:], patience_s=_START_S)
        yield urls
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


async def _up(http: httpx.AsyncClient, url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "LiteLLM ended"
    try:
        return (await http.get(f"{url}/health/liveliness")).status_code == 200
    except httpx.HTTPError:
        return False
