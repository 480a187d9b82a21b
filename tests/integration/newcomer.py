"""What a newcomer has on their machine: `keyfuse up`, `keyfuse gate` and the command line, each a process."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from schemas.records import Incident
from service.install import Running
from service.tansu import free_port
from tests.alerting.kinds import NETWORKED
from tests.containment.servers.serve import Faulty
from tests.containment.servers.serve import serving as answering
from tests.gate.adapters.litellm_proxy import proxies
from tests.integration.servers import Board
from tests.integration.world import until

KEYFUSE: Final = str(Path(sys.executable).parent / "keyfuse")
ROOT: Final = Path(__file__).parents[2]
INTAKE: Final = "intake-token-of-the-newcomer"
BUDGET: Final = "search, a day"
FILES: Final = {
    "people": "people:\n  ann: {role: responder}\n  bob: {role: approver}\n",
    "policies": 'policies:\n- {name: frugal, teams: [search], allowed_models: ["gpt-4o*"], max_output_tokens: 50000}\n',
    "budgets": f"""budgets:
- name: {BUDGET!r}
  teams: [search]
  period: day
  usd: 0.05
  soft_percent: [50]
  projected: false
  burn_rate: false
  hard_stop: true
  owner: bob
  escalate_to: [hook]
  degrade: {{at_percent: 80, back_percent: 70, models: {{gpt-4o: gpt-4o-mini}}, apps: [ranker], approved_by: bob}}
""",
    "detectors": "limits: {usd_per_min: 2}\n",
    "responses": "mode: auto\nretry: {verify_s: 5}\n",
    "keys": "issuing: {envs: {dev: {instant: true, expires_days: 30}}, overlap_h: 0}\n",
}
MODELS: Final = ("gpt-4o", "gpt-4o-mini")


class Newcomer:
    """Everything runs; `say` is the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gate_url = f"http://127.0.0.1:{free_port()}"
        self.intake_url = self.proxy_url = ""
        self.env = os.environ | {
            "PYTHONPATH": str(ROOT), "KEYFUSE_CONFIG": str(folder / "keyfuse.d"), "KEYFUSE_INTAKE_TOKEN": INTAKE,
            "HOOK_SECRET": NETWORKED["webhook"].secret, "COLUMNS": "200",
        }  # fmt: skip

    def settings(self, board: Board) -> None:
        """What a newcomer writes."""
        made = self.folder / "keyfuse.d"
        self._run("init", "--config", str(made))
        wiring = {
            "data_dir": str(self.folder / "data"), "pepper_file": ".keyfuse/pepper",
            "store": {"dsn": f"chdb://{self.folder / 'data' / 'store'}"}, "intake": {"port": 0},
            "gate": {"port": int(self.gate_url.rpartition(":")[2]), "replica": "gate-1"},
            "providers": {"keyfuse": {"kind": "gate"}},
        }  # fmt: skip
        hook = {"kind": "webhook", "secret_env": "HOOK_SECRET", "target": f"{board.webhook.url}/hook", "internal": True}
        routes = {"channels": {"hook": hook}, "routes": [{"channels": ["hook"]}]}
        for name, text in (FILES | {"keyfuse": json.dumps(wiring), "routes": json.dumps(routes)}).items():
            (made / f"{name}.yaml").write_text(text)

    async def say(self, *words: str, by: str = "") -> str:
        """One command; what it printed."""
        return await asyncio.to_thread(self._run, *words, *(["--by", by] if by else []))

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            [KEYFUSE, *words], env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"keyfuse {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    @asynccontextmanager
    async def running(self, command: str, ready: Callable[[], Awaitable[bool] | bool]) -> AsyncIterator[None]:
        """A long command, once it is ready; ended as a person ends it."""
        log = self.folder / f"{command}.log"
        with log.open("wb") as out:
            process = subprocess.Popen([KEYFUSE, command], env=self.env, cwd=self.folder, stdout=out, stderr=out)  # noqa: ASYNC220
        try:
            await until(lambda: alive(process) and ready(), lambda: log.read_text()[-3000:], patience_s=90)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            await asyncio.to_thread(process.wait, 60)

    async def gate_answers(self) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                return (await http.get(f"{self.gate_url}/healthz")).status_code == 200
        except httpx.HTTPError:
            return False

    async def incidents(self) -> list[Incident]:
        """As the running worker tells them, the newest version of each."""
        return [Incident.model_validate(row) for row in (await self._stored("incidents")).json()]

    async def rotated(self, key_id: str) -> bool:
        """Whether the proof that its old secret is refused is stored."""
        return key_id in (await self._stored("rotations")).text

    async def _stored(self, what: str) -> httpx.Response:
        token = (self.folder / "data" / "query-token").read_text().strip()
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            answer = await http.get(f"{self.intake_url}/v1/{what}", headers={"authorization": f"Bearer {token}"})
        return answer.raise_for_status()


def alive(process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "it ended"
    return True


@asynccontextmanager
async def newcomer(folder: Path, board: Board) -> AsyncIterator[Newcomer]:
    """A folder of settings, everything up, and LiteLLM's proxy before a provider that answers as long as asked to."""
    made = Newcomer(folder)
    made.settings(board)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(made.running("up", lambda: Running.find(folder / "data") is not None))
        running = Running.find(folder / "data")
        assert running is not None
        made.intake_url = running.url
        await stack.enter_async_context(made.running("gate", made.gate_answers))
        behind = await stack.enter_async_context(answering(Faulty(provider())))
        env = {
            "KEYFUSE_GATE_URL": made.gate_url, "KEYFUSE_INTAKE_URL": made.intake_url, "KEYFUSE_INTAKE_TOKEN": INTAKE,
            "KEYFUSE_GATE_TIMEOUT_S": "5", "KEYFUSE_GATE_FAIL": "closed",
        }  # fmt: skip
        [made.proxy_url] = await stack.enter_async_context(
            proxies(folder, behind, env, names={model: model for model in MODELS})
        )
        yield made


def provider() -> Starlette:
    """Answers with as many tokens as it is asked for at most, each time under another id."""
    numbers = itertools.count()

    async def chat(request: Request) -> JSONResponse:
        asked: dict[str, Any] = await request.json()
        out = int(asked.get("max_tokens") or 10)
        usage = {"prompt_tokens": 10, "completion_tokens": out, "total_tokens": 10 + out}
        choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
        told = {
            "id": f"chatcmpl-{next(numbers)}",
            "object": "chat.completion",
            "created": 1,
            "model": asked["model"],
            "usage": usage,
        }
        return JSONResponse({**told, "choices": [choice]})

    return Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
