"""Small worlds of policies, exceptions and calls in which much overlaps. Only for tests."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from schemas.call import Call
from schemas.config.policies import HoursConfig, PoliciesConfig, PolicyConfig
from schemas.exception import LIMITS, LISTED, PolicyException
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts

BEGIN_MS = 1_795_824_000_000  # 2026-11-28 00:00 UTC
HOUR_MS = 3_600_000
KEYS, TEAMS, APPS, ENVS = ("k1", "k2", "k3"), ("search", "ads"), ("chat", "batch"), ("prod", "dev")
MODELS = ("gpt-5", "gpt-5-mini", "o3-pro")
PATTERNS = {
    "models": ("gpt-*", "*-mini", "o3-pro", "@small", "@none"),
    "endpoints": ("/v1/chat/*", "/v1/embeddings"),
    "networks": ("10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"),
    "countries": ("DE", "FR"),
    "origins": ("https://*.example.org", "https://a.test"),
}
NAMES = ("first", "second", "third")
CLOCKS = ("00:00", "06:30", "12:00", "22:00")


class World(NamedTuple):
    config: PoliciesConfig
    exceptions: list[PolicyException]
    entries: dict[str, KeyRecord | None]
    facts: dict[str, KeyFacts]
    calls: list[Call]


def some(values: tuple[str, ...], *, least: int = 0) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=2, unique=True).map(tuple)


def rule(kind: str) -> st.SearchStrategy[tuple[str, ...] | None]:
    return st.none() | some(PATTERNS[kind], least=1)


hours = st.builds(
    lambda days, clocks, zone: HoursConfig(**{"days": days, "from": clocks[0], "until": clocks[1], "timezone": zone}),
    some(("fri", "sat", "sun")),
    st.tuples(st.sampled_from(CLOCKS), st.sampled_from((*CLOCKS, "24:00"))).filter(lambda pair: pair[0] != pair[1]),
    st.sampled_from(("UTC", "Europe/Berlin", "Asia/Kolkata")),
)
number = st.none() | st.integers(1, 40)
scopes = {"keys": some(KEYS), "teams": some(("search", "a*")), "apps": some(APPS), "envs": some(("*od", "dev"))}


def policy(name: str) -> st.SearchStrategy[PolicyConfig]:
    return st.builds(
        PolicyConfig, name=st.just(name), **scopes, allowed_models=rule("models"), denied_models=rule("models"),
        allowed_endpoints=rule("endpoints"), networks=rule("networks"), countries=rule("countries"),
        hours=st.none() | hours, max_input_tokens=number, max_output_tokens=number, requests_per_s=number,
        requests_per_min=number, tokens_per_day=number,
    )  # fmt: skip


@st.composite
def exception(draw: st.DrawFn, name: str) -> PolicyException:
    kind = draw(st.sampled_from((*PATTERNS, "hours", "max_input_tokens", "max_output_tokens", "requests_per_min")))
    begin_ms = BEGIN_MS + draw(st.integers(0, 30)) * HOUR_MS
    return PolicyException(
        exception_id=name, at_ms=0, change="asked", asked_at_ms=0, reason="launch", owner="ann", by="ann",
        state=draw(st.sampled_from(("active", "active", "asked", "ended", "refused"))), approved_by="bob", rule=kind,
        of=draw(st.sampled_from(("", *NAMES))),
        allows=draw(some(PATTERNS[kind], least=1)) if kind in LISTED else (),
        limit=draw(st.integers(1, 60)) if kind in LIMITS else None,
        keys=draw(some(KEYS, least=1)), teams=draw(some(("search", "a*"))),
        from_ms=begin_ms, until_ms=begin_ms + draw(st.integers(1, 30)) * HOUR_MS,
    )  # fmt: skip


@st.composite
def entry(draw: st.DrawFn, key_id: str) -> KeyRecord | None:
    if draw(st.booleans()):
        return None
    return KeyRecord(
        key_id=key_id, seq=0, at_ms=0, by="ann", change="made", kind="virtual", state="active", provider="openai",
        networks=draw(some(PATTERNS["networks"])), countries=draw(some(PATTERNS["countries"])),
        origins=draw(some(PATTERNS["origins"])), quota_requests_per_min=draw(number),
        quota_usd_per_day=draw(st.none() | st.floats(0.01, 9)),
    )  # fmt: skip


call = st.builds(
    Call, st.sampled_from(KEYS), st.integers(0, 240).map(lambda quarter: BEGIN_MS + quarter * HOUR_MS // 4),
    model=st.sampled_from(("", *MODELS)),
    endpoint=st.sampled_from(("", "/v1/chat/completions", "/v1/embeddings", "/v1/images")),
    input_tokens=st.integers(0, 60), max_output_tokens=st.none() | st.integers(1, 60), requests=st.sampled_from((1, 3)),
    ip=st.sampled_from(("", "10.1.2.3", "10.2.2.3", "8.8.8.8", "2001:db8::1")),
    country=st.sampled_from(("", "DE", "US")), origin=st.sampled_from(("", "https://x.example.org", "https://b.test")),
)  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn) -> World:
    config = PoliciesConfig(
        families={"small": ("*-mini", "*-nano"), "none": ()}, unseen=draw(st.sampled_from(("refuse", "pass"))),
        policies=tuple(draw(policy(name)) for name in NAMES[: draw(st.integers(0, 3))]),
    )  # fmt: skip
    facts = st.builds(
        KeyFacts, provider=st.just("openai"), team=st.sampled_from(TEAMS), app=st.sampled_from(APPS),
        env=st.sampled_from(ENVS),
    )  # fmt: skip
    return World(
        config, [draw(exception(f"exc_{at}")) for at in range(draw(st.integers(0, 4)))],
        {key_id: draw(entry(key_id)) for key_id in KEYS}, {key_id: draw(facts) for key_id in KEYS},
        draw(st.lists(call, min_size=1, max_size=12)),
    )  # fmt: skip
