"""What Slack's documentation says blocks and forms may be: what is over a limit it would refuse, so the tests do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_ELEMENTS = {
    "button": {"type", "action_id", "text", "value", "style", "confirm"},
    "static_select": {"type", "action_id", "placeholder", "options", "confirm"},
    "radio_buttons": {"type", "action_id", "options"},
    "plain_text_input": {"type", "action_id", "multiline", "max_length", "placeholder"},
    "datetimepicker": {"type", "action_id", "initial_date_time"},
}
_IN_MESSAGES = {"header", "section", "context", "actions"}
_IN_FORMS = {"section", "input", "context"}


def check_message(text: str, blocks: list[dict[str, Any]]) -> None:
    """AssertionError for what chat.postMessage would refuse or cut."""
    assert 0 < len(text) < 4000
    assert len(blocks) <= 50
    _check_blocks(blocks, _IN_MESSAGES)


def check_view(view: dict[str, Any]) -> None:
    """AssertionError for what views.open would refuse."""
    assert view["type"] == "modal"
    assert set(view) <= {"type", "callback_id", "title", "close", "submit", "blocks", "private_metadata"}
    for name in ("title", "close", "submit"):
        if name in view:
            _check_text(view[name], 24, plain=True)
    assert len(view["callback_id"]) <= 255
    assert len(view["private_metadata"]) <= 3000
    assert len(view["blocks"]) <= 100
    _check_blocks(view["blocks"], _IN_FORMS)
    inputs = [block for block in view["blocks"] if block["type"] == "input"]
    assert bool(inputs) == ("submit" in view), "a form with fields needs a button to send it, and only such a one"


def texts(blocks: Any) -> Iterator[str]:
    """Every text that a person sees, as it is sent."""
    if isinstance(blocks, dict):
        if blocks.get("type") in ("mrkdwn", "plain_text"):
            yield blocks["text"]
        for value in blocks.values():
            yield from texts(value)
    elif isinstance(blocks, list):
        for each in blocks:
            yield from texts(each)


def elements(blocks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What can be pressed in a message, by its action id."""
    found = [each for block in blocks if block["type"] == "actions" for each in block["elements"]]
    return {each["action_id"]: each for each in found}


def _check_blocks(blocks: list[dict[str, Any]], allowed: set[str]) -> None:
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    assert len(ids) == len(set(ids))
    for block in blocks:
        kind = block["type"]
        assert kind in allowed, kind
        assert len(block.get("block_id", "")) <= 255
        if kind == "header":
            _check_text(block["text"], 150, plain=True)
        elif kind == "section":
            assert ("text" in block) or block["fields"]
            if "text" in block:
                _check_text(block["text"], 3000)
            assert len(block.get("fields", [])) <= 10
            for field in block.get("fields", []):
                _check_text(field, 2000)
        elif kind == "context":
            assert 1 <= len(block["elements"]) <= 10
            for each in block["elements"]:
                _check_text(each, 3000)
        elif kind == "actions":
            assert 1 <= len(block["elements"]) <= 5, "more than five can hardly be overseen"
            actions = [each["action_id"] for each in block["elements"]]
            assert len(actions) == len(set(actions))
            for each in block["elements"]:
                _check_element(each)
        else:
            _check_text(block["label"], 2000, plain=True)
            _check_element(block["element"])


def _check_element(element: dict[str, Any]) -> None:
    assert set(element) <= _ELEMENTS[element["type"]], element
    assert 0 < len(element["action_id"]) <= 255
    if "text" in element:
        _check_text(element["text"], 75, plain=True)
    assert len(element.get("value", "")) <= 2000
    assert element.get("style", "primary") in ("primary", "danger")
    if "placeholder" in element:
        _check_text(element["placeholder"], 150, plain=True)
    assert element.get("max_length", 1) in range(1, 3001)
    for name, limit in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
        if "confirm" in element:
            _check_text(element["confirm"][name], limit, plain=True)
    options = element.get("options", [])
    assert len(options) <= (10 if element["type"] == "radio_buttons" else 100)
    assert ("options" in element) == bool(options)
    values = [option["value"] for option in options]
    assert len(values) == len(set(values))
    for option in options:
        assert 0 < len(option["value"]) <= 150
        _check_text(option["text"], 75, plain=True)
        if "description" in option:
            _check_text(option["description"], 75, plain=True)


def _check_text(text: dict[str, Any], limit: int, *, plain: bool = False) -> None:
    assert text["type"] == ("plain_text" if plain else "mrkdwn")
    assert 0 < len(text["text"]) <= limit, (limit, text)
    assert plain or text["verbatim"] is True
