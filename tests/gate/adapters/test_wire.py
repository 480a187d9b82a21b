"""Between adapters and the gate: questions read from calls, answers shown to clients, usage read from answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.adapters.payload import event_of
from gate.adapters.question import input_bytes, json_of, key_of, max_output_tokens, question_of
from gate.adapters.settings import Settings, settings_from
from gate.adapters.usage import Reader, Used
from gate.adapters.wire import NO_KEY_SHOWN, TWO_KEYS_SHOWN, Answer, answer_of, headers_of, refusal, words


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, NO_KEY_SHOWN),
        ({"authorization": "Bearer sk-1"}, "sk-1"),
        ({"authorization": "bearer  sk-1 "}, "sk-1"),
        ({"authorization": "sk-1"}, "sk-1"),
        ({"authorization": "", "x-api-key": "sk-2"}, "sk-2"),
        ({"authorization": "Bearer sk-1", "x-api-key": "sk-1"}, "sk-1"),
        ({"authorization": "Bearer sk-1", "x-api-key": "sk-2"}, TWO_KEYS_SHOWN),
        ({"authorization": "Bearer sk-1, Bearer sk-2"}, TWO_KEYS_SHOWN),
        ({"api-key": "azure"}, "azure"),
    ],
)
def test_the_key_that_a_call_shows(headers: dict[str, str], key: str | Answer) -> None:
    assert key_of(headers) == key


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 9}, 9),
        ({"max_output_tokens": 7, "n": 3}, 21),
        ({"max_tokens": True, "n": 2}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 5, "n": "two"}, 5),
    ],
)
def test_how_long_the_answers_may_become(body: dict[str, Any], tokens: int | None) -> None:
    assert max_output_tokens(body) == tokens


def test_the_size_of_a_prompt_is_that_of_its_texts() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    said = {"messages": [{"role": "user", "content": ["ä" * 10, picture]}], "model": "not counted"}
    assert 4_024 <= input_bytes(said) < 4_100
    assert input_bytes({"input": ["abc", [1, 2, 3]]}) == 3 + 12


@settings(max_examples=30)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_whatever_a_client_sends_is_a_question(anything: Any) -> None:
    asked = question_of({"messages": anything, "model": anything, "n": anything}, {}, endpoint="/v1")
    assert json.loads(json.dumps(asked))["input_bytes"] >= 0


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000, b'{"a": NaN'])
def test_what_is_no_json_object_says_nothing_of_the_call(body: bytes) -> None:
    assert json_of(body) == {}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(), 200),
        (Answer("degrade", model="m"), 200),
        (Answer("throttle"), 429),
        (Answer("deny", rule="policy p"), 403),
        (Answer("deny", rule="verdict of incident i"), 403),
        (Answer("deny", rule="gate.unknown_keys"), 401),
        (Answer("deny", rule="life of the key: retired"), 401),
        (Answer("deny", rule="gate away", away=True), 503),
    ],
)
def test_the_status_that_says_an_answer(answer: Answer, status: int) -> None:
    assert answer.status == status
    if not answer.passes:
        assert refusal(answer)["error"]["message"] == words(answer)


def test_words_of_others_cannot_break_the_headers() -> None:
    told = headers_of(Answer("deny", reason="über\r\nset-cookie: x=1 " + "y" * 999, rule="r"))
    assert told["x-keyfuse-reason"].startswith("?ber set-cookie")
    assert all("\n" not in value and len(value) <= 400 for value in told.values())


@pytest.mark.parametrize("said", [{}, {"detail": "not found"}, {"state": "maybe"}])
def test_what_is_no_gate_is_not_believed(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="address of a gate"):
        answer_of(said)


OPENAI = {
    "prompt_tokens": 11, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}  # fmt: skip
RESPONSES = {"input_tokens": 11, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}}
ANTHROPIC = {"input_tokens": 3, "cache_read_input_tokens": 6, "cache_creation_input_tokens": 2, "output_tokens": 1}


def lines(*events: Any) -> bytes:
    return b"".join(b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n" for event in events)


@pytest.mark.parametrize(
    ("kind", "body", "used"),
    [
        ("application/json", json.dumps({"model": "m", "usage": OPENAI}).encode(), Used(11, 4, 0, 5, 2, "m", True)),
        ("application/json", json.dumps({"model": "m", "usage": ANTHROPIC}).encode(), Used(11, 6, 2, 1, 0, "m", True)),
        ("application/json", b'{"model": "m"}', Used(model="m")),
        ("application/json", b"not json", Used()),
        ("text/event-stream", lines({"model": "m", "choices": [{}]}, {"model": "m", "choices": [], "usage": OPENAI})
         + b"data: [DONE]\n\n", Used(11, 4, 0, 5, 2, "m", True)),
        ("text/event-stream", lines({"type": "response.completed", "response": {"model": "m", "usage": RESPONSES}}),
         Used(11, 4, 0, 5, 0, "m", True)),
        ("text/event-stream", lines({"type": "message_start", "message": {"model": "m", "usage": ANTHROPIC}},
         {"type": "message_delta", "usage": {"output_tokens": 9}}), Used(11, 6, 2, 9, 0, "m", True)),
    ],
)  # fmt: skip
@given(data=st.data())
def test_usage_is_read_however_the_answer_was_cut(kind: str, body: bytes, used: Used, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=5)))
    reader = Reader(kind)
    for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        reader.feed(body[begin:end])
    assert reader.used() == used


def test_a_stream_without_usage_is_counted_by_its_pieces() -> None:
    reader = Reader("text/event-stream")
    reader.feed(lines(*({"model": "m", "choices": [{"delta": {"content": "x"}}]} for _ in range(7))))
    assert (reader.used().known, reader.pieces) == (False, 7)


def test_settings_name_everything_that_is_wrong_and_show_no_token() -> None:
    with pytest.raises(ValueError, match=r"KEYFUSE_GATE_URL.*KEYFUSE_GATE_FAIL.*KEYFUSE_GATE_TIMEOUT_S"):
        settings_from({"KEYFUSE_GATE_FAIL": "maybe", "KEYFUSE_GATE_TIMEOUT_S": "soon"})
    assert "of-the-gate" not in repr(Settings("http://gate", gate_token="of-the-gate", intake_token="of-the-gate"))


@pytest.mark.parametrize(
    ("payload", "model"),
    [
        ({"model": "openai/gpt-4o", "model_group": "dear", "response_cost": 0.5}, "dear"),
        ({"model": "openai/gpt-4o", "model_group": "dear", "response_cost": 0.0}, "openai/gpt-4o"),
        ({"model": "openai/gpt-4o", "response_cost": 0.5}, "openai/gpt-4o"),
    ],
)
def test_an_event_names_the_model_as_the_gate_was_asked_unless_only_the_real_name_has_a_price(
    payload: dict[str, Any], model: str
) -> None:
    assert event_of(payload, "fp1:k")["model"] == model
