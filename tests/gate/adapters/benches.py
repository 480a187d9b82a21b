"""Each adapter, with something real in front of it and behind it. `BENCHES` is asked by the contract suite."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import httpx
import httpx2
import openai
import pytest

from gate.adapters.asgi import KeyfuseMiddleware
from gate.adapters.httpx_transport import AsyncKeyfuseTransport
from gate.adapters.settings import Settings
from service.tansu import free_port
from tests.containment.servers.serve import Faulty, serving
from tests.gate.adapters.fake_gate import INTAKE_TOKEN, FakeGate, fake_gate
from tests.gate.adapters.litellm_proxy import proxies, skip_without
from tests.gate.adapters.upstream import Upstream, upstream
from tests.integration.world import until

Fail = Literal["open", "closed"]
CHAT: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "hi there"}]}
PATIENT_S: Final = 20.0  # a busy machine is no gate that is away; one that is refuses connections at once
ROOT: Final = Path(__file__).parents[3]


@dataclass
class Said:
    """What a client got."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    words: str = ""
    model: str = ""


Call = Callable[[str, str], Awaitable[Said]]  # key, model


@dataclass
class Bench:
    """One adapter between a client and an upstream. `call[fail]` is a way through one that fails so."""

    gate: FakeGate
    behind: Upstream
    call: dict[Fail, Call]
    url: str = ""  # of the first, where it has one
    rewrites: bool = True  # it can put another model into the call
    settles: bool = True  # it sees what a call used


def settings(gate: FakeGate, fail: Fail) -> Settings:
    return Settings(
        gate_url=gate.url, intake_url=gate.url, intake_token=INTAKE_TOKEN, fail=fail, timeout_s=PATIENT_S, gather_s=0.02
    )


async def chat(client: openai.AsyncOpenAI, model: str) -> Said:
    """One call of the real client, and what its caller sees of it."""
    try:
        raw = await client.chat.completions.with_raw_response.create(model=model, **CHAT)
    except openai.APIStatusError as error:
        return Said(error.status_code, dict(error.response.headers), error.message)
    return Said(raw.status_code, dict(raw.headers), model=raw.parse().model)


def client(url: str, key: str, http: Any = None) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, http_client=http)


def over(url: str) -> Call:
    """The plain client against an address."""

    async def call(key: str, model: str) -> Said:
        async with client(url, key) as one:
            return await chat(one, model)

    return call


@asynccontextmanager
async def _litellm(gate: FakeGate, behind: Upstream, folder: Path) -> AsyncIterator[Bench]:
    told = {"KEYFUSE_GATE_URL": gate.url, "KEYFUSE_INTAKE_URL": gate.url, "KEYFUSE_INTAKE_TOKEN": INTAKE_TOKEN}
    told |= {"KEYFUSE_GATE_TIMEOUT_S": str(PATIENT_S)}
    fails: tuple[Fail, ...] = ("open", "closed")
    async with proxies(folder, behind.url, *(told | {"KEYFUSE_GATE_FAIL": fail} for fail in fails)) as urls:
        yield Bench(gate, behind, dict(zip(fails, map(over, urls), strict=True)), urls[0])


@asynccontextmanager
async def _asgi(gate: FakeGate, behind: Upstream, folder: Path) -> AsyncIterator[Bench]:
    made: dict[Fail, Call] = {}
    urls: list[str] = []
    async with AsyncExitStack() as stack:
        for fail in ("open", "closed"):
            guarded = KeyfuseMiddleware(behind.app(), settings=settings(gate, fail))
            stack.push_async_callback(guarded.close)
            urls.append(await stack.enter_async_context(serving(Faulty(guarded))))
            made[fail] = over(urls[-1])
        yield Bench(gate, behind, made, urls[0])


@asynccontextmanager
async def _httpx_transport(gate: FakeGate, behind: Upstream, folder: Path) -> AsyncIterator[Bench]:
    made: dict[Fail, Call] = {}
    async with AsyncExitStack() as stack:
        for fail in ("open", "closed"):
            carried: Any = AsyncKeyfuseTransport(settings=settings(gate, fail))
            http = await stack.enter_async_context(httpx2.AsyncClient(transport=carried))

            async def call(key: str, model: str, http: httpx2.AsyncClient = http) -> Said:
                return await chat(client(behind.url, key, http), model)

            made[fail] = call
        yield Bench(gate, behind, made)


@asynccontextmanager
async def _nginx(gate: FakeGate, behind: Upstream, folder: Path) -> AsyncIterator[Bench]:
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("no nginx: `apt-get install nginx` brings it")
    ports: dict[Fail, int] = {"open": free_port(), "closed": free_port()}
    written = (ROOT / "deploy/nginx/keyfuse.conf").read_text().replace("250ms", f"{PATIENT_S:g}s")
    written = written.replace("127.0.0.1:8322", gate.url.removeprefix("http://"))
    written = written.replace("127.0.0.1:4000", behind.url.removeprefix("http://"))
    server = written[written.index("server {\n    listen") :]
    closed = server.replace("8080", str(ports["closed"])).replace("error_page 502 504 = @keyfuse_open;", "")
    once = written.replace("8080", str(ports["open"])) + closed
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log warn;"
        f"events {{}} http {{ access_log off; {temporary} {once} }}"
    )
    async with running([program, "-c", str(path), "-p", str(folder)], folder, list(ports.values())):
        calls = {fail: over(f"http://127.0.0.1:{port}") for fail, port in ports.items()}
        yield Bench(gate, behind, calls, rewrites=False, settles=False)


@asynccontextmanager
async def _envoy(gate: FakeGate, behind: Upstream, folder: Path) -> AsyncIterator[Bench]:
    program = skip_without("envoy")
    ports: dict[Fail, int] = {"open": free_port(), "closed": free_port()}
    async with AsyncExitStack() as stack:
        for number, (fail, port) in enumerate(ports.items()):
            written = (ROOT / "deploy/envoy/keyfuse.yaml").read_text().replace("0.25s", f"{PATIENT_S:g}s")
            for shown, real in {"8322": gate.url, "4000": behind.url, "8080": f":{port}"}.items():
                written = written.replace(shown, real.rsplit(":", 1)[1])
            path = folder / f"envoy-{fail}.yaml"
            path.write_text(
                written.replace("failure_mode_allow: true", f"failure_mode_allow: {str(fail == 'open').lower()}")
            )
            command = [str(program), "-c", str(path), "--concurrency", "1", "--base-id", str(os.getpid() * 2 + number)]
            await stack.enter_async_context(running([*command, "--log-level", "warning"], folder, [port]))
        calls = {fail: over(f"http://127.0.0.1:{port}") for fail, port in ports.items()}
        yield Bench(gate, behind, calls, rewrites=False, settles=False)


@asynccontextmanager
async def running(command: list[str], folder: Path, ports: list[int]) -> AsyncIterator[None]:
    """A program of somebody else's, once it listens on its ports."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder)  # noqa: ASYNC220 - it returns at once
    try:
        async with httpx.AsyncClient() as http:
            for port in ports:
                await until(partial(_listens, http, port, process), lambda: log.read_text()[-3000:])
        yield
    finally:
        process.terminate()
        process.wait(10)


async def _listens(http: httpx.AsyncClient, port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "it ended"
    try:
        await http.get(f"http://127.0.0.1:{port}/")
    except httpx.HTTPError:
        return False
    return True


Build = Callable[[FakeGate, Upstream, Path], Any]
BENCHES: Final[dict[str, Build]] = {
    "gate.adapters.litellm": _litellm,
    "gate.adapters.asgi": _asgi,
    "gate.adapters.httpx_transport": _httpx_transport,
    "deploy/nginx": _nginx,
    "deploy/envoy": _envoy,
}


@asynccontextmanager
async def bench(name: str, folder: Path) -> AsyncIterator[Bench]:
    async with fake_gate() as gate, upstream() as behind, BENCHES[name](gate, behind, folder) as made:
        yield made
