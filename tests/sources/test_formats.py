"""Which format a record is taken for, and what LiteLLM's own log records become."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from sources.formats import FORMATS, detect, litellm
from tests.sources.events import NOW_MS, event, parse

DATA = Path(os.environ.get("KEYFUSE_DATA", Path(__file__).parents[3] / "shared" / "data"))
LITELLM_LOG = DATA / "litellm" / "standard_logging_payloads.jsonl"


@pytest.fixture(scope="module")
def log() -> list[dict[str, Any]]:
    if not LITELLM_LOG.exists():
        pytest.skip(f"no LiteLLM records at {LITELLM_LOG}: set KEYFUSE_DATA to the data folder")
    return [orjson.loads(line) for line in LITELLM_LOG.read_bytes().splitlines()]


def payload(**changed: Any) -> dict[str, Any]:
    """The shape of a LiteLLM success, cut to what is read."""
    whole: dict[str, Any] = {
        "id": "chatcmpl-1",
        "litellm_call_id": "call-1",
        "call_type": "acompletion",
        "status": "success",
        "cache_hit": False,
        "custom_llm_provider": "openai",
        "model": "gpt-4o",
        "startTime": 1_795_427_998.25,
        "endTime": 1_795_427_999.5,
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "total_tokens": 1100,
        "response_cost": 0.0033,
        "requester_ip_address": "203.0.113.7",
        "user_agent": "openai-python/1.50.0",
        "end_user": "customer-9",
        "metadata": {
            "user_api_key_hash": "b" * 64,
            "user_api_key_alias": "batch-eval",
            "user_api_key_team_id": "growth",
            "usage_object": {
                "prompt_tokens_details": {"cached_tokens": 200, "cache_creation_tokens": 50},
                "completion_tokens_details": {"reasoning_tokens": 30},
            },
        },
        "error_information": {"error_code": "", "error_class": ""},
        "messages": [{"role": "user", "content": "a private question"}],
        "response": {"choices": [{"message": {"content": "a private answer"}}]},
    }
    return whole | changed


def test_formats_are_found_and_native_comes_first() -> None:
    assert list(FORMATS) == ["native", "litellm"]


@pytest.mark.parametrize(
    ("doc", "name"),
    [
        (event(), "native"),
        ({"ts": 1}, "native"),
        ({"event_id": None}, "native"),
        (payload(), "litellm"),
        (payload(event_id="e"), "native"),
        ({"startTime": 1.0}, None),
        ({}, None),
    ],
)
def test_the_shape_decides(doc: dict[str, Any], name: str | None) -> None:
    found = detect(doc)
    assert (found and found.NAME) == name


def test_a_forced_format_overrules_the_shape() -> None:
    (dead,) = parse(event(), fmt="litellm").dead
    assert (dead.reason, dead.field) == ("invalid_field", "event_id")
    (dead,) = parse({"anything": 1}, fmt="native").dead
    assert (dead.reason, dead.field) == ("invalid_field", "event_id")


def test_a_success_is_mapped_field_by_field() -> None:
    parsed = parse(payload())
    assert parsed.dead == []
    (row,) = parsed.frame.to_pylist()
    assert {name: row[name] for name in row if not name.startswith(("raw_", "event_hash"))} == {
        "event_id": "chatcmpl-1",
        "ts_ms": NOW_MS - 1750,
        "key_id": "b" * 64,
        "provider": "openai",
        "model": "gpt-4o",
        "endpoint": "acompletion",
        "requests": 1,
        "input_tokens": 1000,
        "cached_input_tokens": 200,
        "cache_write_tokens": 50,
        "output_tokens": 100,
        "reasoning_tokens": 30,
        "cost_nano_usd": 3_300_000,
        "priced": True,
        "status": 200,
        "error": None,
        "latency_ms": 1250.0,
        "ip": "203.0.113.7",
        "network": "203.0.113.0/24",
        "country": None,
        "asn": None,
        "user_agent": "openai-python/1.50.0",
        "user_id": "customer-9",
        "team": "growth",
        "app": "batch-eval",
        "env": None,
    }


@pytest.mark.parametrize(
    ("changed", "field", "value"),
    [
        ({"id": None}, "event_id", "call-1"),
        ({"custom_llm_provider": None}, "provider", "unknown"),
        ({"custom_llm_provider": None, "error_information": {"llm_provider": "azure"}}, "provider", "azure"),
        ({"model": "", "model_group": "fast"}, "model", "fast"),
        ({"status": "failure", "error_information": {"error_code": "429"}}, "status", 429),
        ({"status": "failure", "error_information": {"error_code": ""}}, "status", 500),
        ({"status": "failure", "error_information": {"error_code": "E1"}}, "status", 500),
        ({"error_information": {"error_class": "RateLimitError"}}, "error", "RateLimitError"),
        ({"response_cost": 0.0}, "cost_nano_usd", 3_500_000),  # unknown to LiteLLM: priced from the table
        ({"response_cost": 0.0, "cache_hit": True}, "cost_nano_usd", 0),  # answered from its cache: free
        ({"response_cost": None}, "cost_nano_usd", 3_500_000),
        ({"endTime": 1_795_427_998.0}, "latency_ms", None),  # clocks that went back
        ({"requester_ip_address": "203.0.113.7, 10.0.0.1"}, "ip", "203.0.113.7"),
        ({"requester_ip_address": None}, "ip", None),
        ({"user_agent": "x" * 2000}, "user_agent", "x" * 1024),
        ({"end_user": "u" * 300}, "user_id", "u" * 256),
    ],
)
def test_habits_of_litellm(changed: dict[str, Any], field: str, value: object) -> None:
    without_details = {"user_api_key_hash": "b" * 64}
    parsed = parse(payload(metadata=without_details, **changed))
    assert parsed.dead == []
    assert parsed.frame.column(field).to_pylist() == [value]


def test_older_records_count_cached_tokens_elsewhere() -> None:
    usage = {"cache_read_input_tokens": 7, "cache_creation_input_tokens": 3}
    (row,) = parse(payload(metadata={"user_api_key_hash": "b" * 64, "usage_object": usage})).frame.to_pylist()
    assert (row["cached_input_tokens"], row["cache_write_tokens"]) == (7, 3)


@pytest.mark.parametrize("field", ["metadata", "error_information"])
@pytest.mark.parametrize("value", [None, [], "text", 5])
def test_odd_shapes_are_named_not_raised(field: str, value: object) -> None:
    parsed = parse(payload(**{field: value}))
    assert [dead.field for dead in parsed.dead] == (["key_id"] if field == "metadata" else [])


def test_questions_and_answers_are_never_carried_on() -> None:
    assert "private" not in str(litellm.parse(payload()))
    assert "private" not in str(parse(payload()).frame.to_pylist())


def test_every_real_record_is_taken(log: list[dict[str, Any]]) -> None:
    parsed = parse(*log)
    assert parsed.dead == []
    assert parsed.frame.column("event_id").to_pylist() == [doc["id"] for doc in log]
    rows = parsed.frame.to_pylist()
    assert Counter(row["status"] for row in rows)[200] == sum(doc["status"] == "success" for doc in log)
    for row, doc in zip(rows, log, strict=True):
        assert row["key_id"] == doc["metadata"]["user_api_key_hash"]
        assert (row["input_tokens"], row["output_tokens"]) == (doc["prompt_tokens"], doc["completion_tokens"])
        assert (row["error"] is None) == (doc["status"] == "success")
        assert row["priced"]
        assert row["cost_nano_usd"] == round(doc["response_cost"] * 1e9) or doc["response_cost"] == 0
        assert (row["cost_nano_usd"] > 0) == (doc["total_tokens"] > 0)
        for message in doc["messages"]:
            assert message["content"] not in str(row)
