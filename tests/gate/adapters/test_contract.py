"""One table of situations, asked of every adapter: what its client gets, and what the gate and the intake are told."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import httpx
import pytest
import pytest_asyncio

from gate.adapters.payload import event_of
from tests.gate.adapters.benches import BENCHES, CHAT, ROOT, Bench, Fail, bench, client
from tests.gate.adapters.fake_gate import key_id
from tests.gate.adapters.litellm_proxy import MASTER
from tests.gate.adapters.upstream import WORDS
from tests.integration.world import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_ADAPTERS: Final = {
    "asking": "asks", "outbox": "tells", "payload": "reads LiteLLM", "question": "reads calls", "settings": "settings",
    "usage": "reads answers", "watch": "follows one call", "wire": "the words between gate and adapter",
}  # fmt: skip
NO_GATE: Final = {"kafka": "a broker", "prometheus": "alert rules"}  # folders of deploy that are no proxies

THROTTLE: Final = {"state": "throttle", "rule": "policy p", "reason": "the ceiling is reached", "retry_after_s": 2.5}
DEGRADE: Final = {"state": "degrade", "rule": "budget b", "reason": "95 % are spent", "model": "cheap"}
DENY: Final = {
    "state": "deny",
    "rule": "verdict of incident i1",
    "reason": "stolen: use the backup",
    "use_instead": "fp1:b",
}
EXPIRED: Final = {"state": "deny", "rule": "life of the key: expired", "reason": "it expired"}
POLICY: Final = {"state": "deny", "rule": "policy p: allowed_models", "reason": "use gpt-4.1-mini"}
SERVED: Final = {False: {"dear", "gpt-4o"}, True: {"cheap", "gpt-4o-mini"}}  # LiteLLM has names of its own for clients


class Situation(NamedTuple):
    said: dict[str, Any] | None  # by the gate; None: nothing about this key
    status: int
    words: str = ""
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    fail: Fail = "open"


SITUATIONS: Final = {
    "allowed": Situation(None, 200),
    "throttled": Situation(
        THROTTLE, 429, "the ceiling is reached", {"retry-after": "3", "x-keyfuse-state": "throttle"}
    ),
    "degraded": Situation(DEGRADE, 200, headers={"x-keyfuse-state": "degrade", "x-keyfuse-model": "cheap"}),
    "denied by a verdict": Situation(DENY, 403, "stolen: use the backup", {"x-keyfuse-use-instead": "fp1:b"}),
    "denied by its life": Situation(EXPIRED, 401, "it expired"),
    "denied by a policy": Situation(POLICY, 403, "use gpt-4.1-mini"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=sorted(BENCHES))
async def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    async with bench(request.param, tmp_path_factory.mktemp("bench")) as one:
        yield one


@pytest.fixture
def clean(made: Bench) -> Bench:
    """With nothing noted yet; what is still told of earlier calls is of other keys."""
    for noted in (made.gate.asked, made.behind.bodies, made.behind.headers):
        noted.clear()
    return made


@pytest.fixture
def key(clean: Bench) -> str:
    """One that this test alone uses, known to the gate."""
    fresh = f"kfk_{secrets.token_hex(19)}"
    clean.gate.issued.add(fresh)
    return fresh


async def test_each_adapter_has_a_bench() -> None:
    modules = {f"gate.adapters.{path.stem}" for path in (ROOT / "gate/adapters").glob("*.py")}
    kept = modules - {f"gate.adapters.{name}" for name in ("__init__", *NOT_ADAPTERS)}
    folders = {
        f"deploy/{path.name}" for path in (ROOT / "deploy").iterdir() if path.is_dir() and path.name not in NO_GATE
    }
    assert kept | folders == set(BENCHES)


@pytest.mark.parametrize("name", SITUATIONS)
async def test_what_the_client_gets(clean: Bench, key: str, name: str) -> None:
    situation = SITUATIONS[name]
    if situation.said:
        clean.gate.says[key_id(key)] = situation.said
    said = await clean.call["open"](key, "dear")

    assert said.status == situation.status, said
    assert situation.words in said.words
    assert {header: said.headers.get(header) for header in situation.headers} == situation.headers
    reached = [body["model"] for body in clean.behind.bodies]
    if said.status != 200:
        assert reached == []
        assert situation.said is not None
        assert situation.said["rule"] in said.words
    elif situation.said is DEGRADE and not clean.rewrites:
        assert clean.behind.headers[0]["x-keyfuse-model"] == "cheap"
    else:
        assert {said.model, *reached} <= SERVED[situation.said is DEGRADE]


async def test_the_gate_is_asked_about_this_call(clean: Bench, key: str) -> None:
    await clean.call["open"](key, "dear")
    asked = clean.gate.calls()[-1]
    assert asked.get("key_id", key_id(asked.get("key", ""))) == key_id(key)
    assert asked["endpoint"] == "/v1/chat/completions"
    assert asked["input_bytes"] >= len("hi there")
    assert asked["user_agent"].startswith("AsyncOpenAI/")


async def test_what_a_call_used_is_settled_and_told_and_a_refused_one_is_evidence(clean: Bench, key: str) -> None:
    if not clean.settles:
        pytest.skip("it does not see answers: the gate gives back what it reserved, events come from elsewhere")
    await clean.call["open"](key, "dear")
    clean.gate.says[key_id(key)] = DENY
    await clean.call["open"](key, "dear")
    told, settlements = partial(clean.gate.told_of, key), partial(clean.gate.settled_of, key)
    await until(lambda: len(told()) == 2 and settlements(), lambda: f"told: {told()}")
    (settled,) = settlements()
    assert (settled["input_tokens"], settled["output_tokens"]) == (11, 5)


async def test_a_refused_key_stays_refused_while_the_gate_is_away(clean: Bench, key: str) -> None:
    if not clean.settles:
        pytest.skip("a proxy remembers nothing: fail_open is open")
    clean.gate.says[key_id(key)] = DENY
    await clean.call["open"](key, "dear")
    async with away(clean):
        assert (await clean.call["open"](key, "dear")).status == 403


@pytest.mark.parametrize(("fail", "status"), [("open", 200), ("closed", 503)])
async def test_what_holds_while_the_gate_is_away(clean: Bench, key: str, fail: Fail, status: int) -> None:
    call = clean.call[fail]
    assert (await call(key, "dear")).status == 200
    async with away(clean):
        said = await call(key, "dear")
        assert said.status == status, said
        if fail == "closed":
            assert clean.behind.bodies[1:] == []

    async def back() -> bool:
        clean.gate.asked.clear()
        return (await call(key, "dear")).status == 200 and bool(clean.gate.asked)

    await until(back, "it asks again")


@asynccontextmanager
async def away(made: Bench) -> AsyncIterator[None]:
    await made.gate.door.shut()
    try:
        yield
    finally:
        await made.gate.door.open()


# What only LiteLLM's proxy has: streams that it puts together itself, other calls, keys of its own, an admin's routes.

LITELLM: Final = pytest.mark.parametrize("made", ["gate.adapters.litellm"], indirect=True)


@LITELLM
async def test_a_stream_through_litellm_is_settled_with_what_the_provider_said(clean: Bench, key: str) -> None:
    clean.gate.says[key_id(key)] = DEGRADE
    async with client(clean.url, key) as one:
        stream = await one.chat.completions.create(
            model="dear", stream=True, stream_options={"include_usage": True}, **CHAT
        )
        pieces = [piece async for piece in stream]
    assert {piece.model for piece in pieces} <= SERVED[True]
    assert [c.delta.content for piece in pieces for c in piece.choices if c.delta.content] == list(WORDS)
    await until(lambda: clean.gate.settled_of(key), lambda: f"settled: {clean.gate.settled}")
    (settled,) = clean.gate.settled_of(key)
    assert (settled["input_tokens"], settled["output_tokens"]) == (11, 5)
    assert settled["cost_usd"] == pytest.approx(7 * 0.15e-6 + 4 * 0.075e-6 + 5 * 0.6e-6)


@pytest.mark.parametrize("made", ["gate.adapters.asgi", "gate.adapters.litellm"], indirect=True)
async def test_a_client_that_goes_away_pays_for_what_it_got(clean: Bench, key: str) -> None:
    clean.behind.long = True
    try:
        async with client(clean.url, key) as one:  # noqa: SIM117 - the second needs the first
            async with await one.chat.completions.create(model="dear", stream=True, **CHAT) as stream:
                async for piece in stream:
                    if piece.choices[0].delta.content == WORDS[-1]:
                        break
        await until(lambda: clean.gate.settled_of(key), lambda: f"settled: {clean.gate.settled}")
    finally:
        clean.behind.long = False
    assert clean.gate.settled_of(key)[0]["output_tokens"] >= len(WORDS)


@LITELLM
async def test_embeddings_are_calls_as_well(clean: Bench, key: str) -> None:
    async with client(clean.url, key) as one:
        await one.embeddings.create(model="embed", input=["hi", "there"], encoding_format="float")
    assert (clean.gate.calls()[-1]["model"], clean.gate.calls()[-1]["input_bytes"]) == ("embed", 7)
    await until(lambda: clean.gate.settled_of(key), lambda: f"settled: {clean.gate.settled}")
    assert clean.gate.settled_of(key)[0]["input_tokens"] == 3


@LITELLM
async def test_a_call_that_failed_gives_back_all_that_was_reserved(clean: Bench, key: str) -> None:
    clean.behind.broken = True
    try:
        assert (await clean.call["open"](key, "dear")).status == 500
    finally:
        clean.behind.broken = False
    await until(lambda: clean.gate.settled_of(key) and clean.gate.told_of(key), lambda: f"{clean.gate.settled}")
    assert clean.gate.settled_of(key)[0]["cost_usd"] == 0
    assert clean.gate.told_of(key)[0]["status"] == 500


@LITELLM
async def test_litellms_own_keys_go_on_working_and_a_forged_one_of_ours_does_not(clean: Bench) -> None:
    assert (await clean.call["open"](MASTER, "dear")).status == 200
    assert clean.gate.calls()[-1]["key_id"] == "litellm_proxy_master_key"
    forged = await clean.call["open"]("kfk_" + "z" * 38, "dear")
    assert (forged.status, "nobody has registered this key" in forged.words) == (401, True)


@LITELLM
async def test_a_key_of_ours_makes_calls_and_is_no_admin(clean: Bench, key: str) -> None:
    async with httpx.AsyncClient(base_url=clean.url) as http:

        async def status(method: str, path: str, secret: str) -> int:
            headers = {"authorization": f"Bearer {secret}"}
            return (
                await http.request(method, path, headers=headers, json={} if method == "POST" else None)
            ).status_code

        assert await status("GET", "/v1/models", key) == 200
        for method, path in (("POST", "/key/generate"), ("POST", "/model/new"), ("GET", "/get/config/callbacks")):
            assert await status(method, path, key) == 403, path
        assert await status("GET", "/get/config/callbacks", MASTER) == 200


@LITELLM
async def test_what_litellm_tells_is_all_that_it_knows_of_a_call_but_its_words(clean: Bench, key: str) -> None:
    await clean.call["open"](key, "dear")
    clean.gate.says[key_id(key)] = THROTTLE
    await clean.call["open"](key, "dear")
    await until(lambda: len(clean.gate.told_of(key)) == 2, lambda: f"told: {clean.gate.told_of(key)}")
    called, refused = sorted(clean.gate.told_of(key), key=lambda event: int(event["status"]))
    assert (called["provider"], called["endpoint"], called["ip"]) == ("openai", "acompletion", "127.0.0.1")
    assert [called[f"{name}_tokens"] for name in ("input", "cached_input", "output", "reasoning")] == [11, 4, 5, 2]
    assert called["cost_usd"] == pytest.approx(7 * 2.5e-6 + 4 * 1.25e-6 + 5 * 10e-6)
    assert (refused["status"], refused.get("cost_usd") or 0, refused["output_tokens"]) == (429, 0, 0)


async def test_no_word_of_a_prompt_or_an_answer_leaves_litellm() -> None:
    secret = {"messages": "a prompt", "response": "an answer", "error_str": "words", "model_parameters": {"user": "x"}}
    error = {"error_code": "429", "error_message": "words", "traceback": "words"}
    meta = {"user_api_key_hash": "h", "requester_metadata": {"a": "prompt"}, "usage_object": {"prompt_tokens": 1}}
    told = event_of(secret | {"id": "i" * 500, "model": "m", "error_information": error, "metadata": meta}, "fp1:k")
    assert set(told) == {"id", "model", "metadata", "error_information"}
    assert told["metadata"] == {"user_api_key_hash": "fp1:k", "usage_object": {}}
    assert told["error_information"] == {"error_code": "429"}
    assert len(told["id"]) <= 256
