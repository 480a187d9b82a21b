"""A planted secret of each kind appears nowhere in the output, whichever way it went into a log."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from schemas.redact import MARK
from service.logs import bind_stage, configure_logging

SECRETS = {
    "openai": "sk-proj-Ab3dEf6hIj9kLm2nOp5qT3BlbkFJQr8sTu1vWx4yZa7b",
    "openai legacy": "sk-Ab3dEf6hIj9kLm2nOp5qT3BlbkFJQr8sTu1vWx4yZa7b",
    "anthropic": "sk-ant-api03-" + "Ab3_dEf-6h" * 9 + "xyzAA",
    "anthropic admin": "sk-ant-admin01-" + "Ab3_dEf-6h" * 9 + "xyzAA",
    "google": "AIzaSyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
    "aws": "AKIA2E3F4G5H6I7J2K3L",
    "openrouter": "sk-or-v1-" + "0123456789abcdef" * 4,
    "litellm": "sk-Q1w2E3r4T5y6U7i8O9p0aB",
    "slack": "xoxb-123456789012-123456789012-AbCdEfGhIjKlMnOpQrStUvWx",
    "slack app": "xapp-1-A0123456789-1234567890123-0123456789abcdef",
    "webhook": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "bearer": "Bearer q1w2e3r4t5y6u7i8o9p0",
}
LIBRARIES = ("faust", "aiokafka", "uvicorn.error", "slack_sdk.web", "httpx", "mylib")


@pytest.fixture
def log_stream() -> Iterator[io.StringIO]:
    """Logging as in production, undone afterwards: it is global by nature."""
    root = logging.getLogger()
    handlers, level, hooks = root.handlers, root.level, (sys.excepthook, threading.excepthook)
    stream = io.StringIO()
    configure_logging(stream=stream, console=False)
    yield stream
    root.handlers, (sys.excepthook, threading.excepthook) = handlers, hooks
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def fail(secret: str) -> None:
    local = f"not in a traceback: {secret}"
    try:
        raise ValueError(f"401 for {secret}, {len(local)}")
    except ValueError as error:
        raise RuntimeError(f"gave up on {{'authorization': '{secret}'}}") from error


def structlog_exception(secret: str) -> None:
    try:
        fail(secret)
    except RuntimeError:
        structlog.get_logger().exception("call failed", url=f"https://api.example.com/?key={secret}&n=1")


def stdlib_exception(secret: str) -> None:
    for name in LIBRARIES:
        try:
            fail(secret)
        except RuntimeError:
            logging.getLogger(name).exception("call failed")


def stdlib_args(secret: str) -> None:
    for name in LIBRARIES:
        logging.getLogger(name).error("got %s for %r, %s", secret, {"key": secret}, secret.encode())


def stdlib_extra(secret: str) -> None:
    extra = {"request": {"headers": [("x-api-key", secret)]}, "raw": secret.encode(), f"k_{secret}": 1}
    logging.getLogger("mylib").error("extra", extra=extra)


def structlog_values(secret: str) -> None:
    structlog.get_logger().warning(
        f"text {secret}, more",
        nested={"a": [secret, (secret,)], secret: 1},
        raw=secret.encode(),
        error=ValueError(secret),
    )


def structlog_arguments(secret: str) -> None:
    structlog.get_logger().warning("text %s", secret)


def bound(secret: str) -> None:
    structlog.contextvars.bind_contextvars(tried=secret)
    structlog.get_logger().bind(also=secret).info("bound")
    logging.getLogger("mylib").info("bound")


def not_formattable(secret: str) -> None:
    logging.getLogger("mylib").error("%d keys", secret)


def uncaught(secret: str) -> None:
    try:
        fail(secret)
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)


def uncaught_in_thread(secret: str) -> None:
    thread = threading.Thread(target=fail, args=(secret,))
    thread.start()
    thread.join()


def warned(secret: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"deprecated: {secret}", DeprecationWarning, stacklevel=1)


def stack_shown(secret: str) -> None:
    logging.getLogger("mylib").error("at %s", secret, stack_info=True)


WAYS: list[Callable[[str], None]] = [
    structlog_exception, structlog_values, structlog_arguments, stdlib_exception, stdlib_args, stdlib_extra,
    bound, not_formattable, uncaught, uncaught_in_thread, warned, stack_shown,
]  # fmt: skip


@pytest.mark.parametrize("console", [False, True], ids=["json", "console"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_secret_gets_out(
    way: Callable[[str], None], console: bool, log_stream: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in the log, and not beside it on standard output or error."""
    configure_logging(stream=log_stream, console=console)
    for secret in SECRETS.values():
        way(secret)
    captured = capfd.readouterr()
    written = log_stream.getvalue() + captured.out + captured.err
    assert written.count("\n") >= len(SECRETS), "each one was logged"
    tail = {kind: secret[-12:] for kind, secret in SECRETS.items()}
    assert [kind for kind, end in tail.items() if end in written] == []


@pytest.mark.parametrize("way", [way for way in WAYS if way is not not_formattable], ids=lambda way: way.__name__)
def test_lines_stay_json(way: Callable[[str], None], log_stream: io.StringIO) -> None:
    for secret in SECRETS.values():
        way(secret)
    for line in log_stream.getvalue().splitlines():
        assert {"event", "level", "timestamp"} <= json.loads(line).keys()
        assert MARK in line


def only_line(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_values_under_telling_names_are_hidden(log_stream: io.StringIO) -> None:
    """A PagerDuty routing key looks like any word: only its name tells."""
    structlog.get_logger().info(
        "sent",
        routing_key="e93facc04764012d7bfb002500d5d1a6",
        headers={"Cookie": "a=b"},
        input_tokens=12,
        key_id="fp1:ab",
    )
    line = only_line(log_stream)
    assert line["routing_key"] == line["headers"]["Cookie"] == MARK
    assert (line["input_tokens"], line["key_id"]) == (12, "fp1:ab")


def test_the_stage_marks_lines_of_libraries_too(log_stream: io.StringIO) -> None:
    tokens = bind_stage("score")
    logging.getLogger("aiokafka").warning("lost the group")
    assert only_line(log_stream)["stage"] == "score"
    structlog.contextvars.reset_contextvars(**tokens)


def test_exceptions_are_told_with_their_cause(log_stream: io.StringIO) -> None:
    """Redaction leaves what a person needs: type, place and the rest of the sentence."""
    structlog_exception(SECRETS["openai"])
    trace = only_line(log_stream)["exception"]
    assert f"ValueError: 401 for sk-proj-{MARK}, " in trace
    assert "RuntimeError: gave up on" in trace
    assert "in fail\n" in trace


def test_talkative_libraries_are_quiet_at_info(log_stream: io.StringIO) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET https://example.com")
    structlog.get_logger().debug("below the level")
    assert log_stream.getvalue() == ""


def test_keyboard_interrupt_is_no_error(log_stream: io.StringIO) -> None:
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert log_stream.getvalue() == ""
