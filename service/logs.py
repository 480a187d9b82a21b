"""Structured logs of ours and of every library, in one form, through one redactor: no secret gets out of here.

Redaction is the first processor, so that nothing later sees a secret, and the last thing done to a line, so that what
was added on the way (tracebacks, bound values, reprs) is covered too.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor

from schemas.redact import MARK, redact

# What says too much at INFO: one line a request or a heartbeat, and httpx's with full URLs.
_QUIET: Final = (
    "aiokafka",
    "faust",
    "mode",
    "streams.faust_engine",
    "httpx",
    "httpcore",
    "slack_sdk",
    "openai",
    "anthropic",
    "urllib3",
)
# Libraries that bring handlers of their own, which would print beside ours.
_OWN_HANDLERS: Final = ("uvicorn", "uvicorn.access", "uvicorn.error", "faust", "mode", "slack_sdk")
_SECRET_NAME: Final = re.compile(
    r"(?:^|[_\-.])(?:secret|password|passwd|token|authorization|cookie|api[_-]?key|routing_key|admin_key|pepper)$", re.I
)


def configure_logging(*, stream: TextIO | None = None, level: str = "INFO", console: bool | None = None) -> None:
    """Send structlog and all of `logging` to one stream: JSON lines, or for people when it is a terminal.

    Also takes uncaught exceptions, of threads too, and warnings. Give uvicorn `log_config=None`, and Faust
    `loghandlers=[]` with `logging_config={"version": 1, "disable_existing_loggers": False}`.
    """
    stream = stream or sys.stderr
    for_people = stream.isatty() if console is None else console
    handler = _Handler(stream)
    handler.setFormatter(_formatter(for_people=for_people))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _OWN_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # module-level loggers exist before this is called
    )
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def bind_stage(stage: str) -> Mapping[str, Any]:
    """Mark every later line of this task, ours and libraries', with the stage; returns tokens to undo it."""
    return structlog.contextvars.bind_contextvars(stage=stage)


def redact_event(_logger: Any, _method: str, event: EventDict) -> EventDict:  # noqa: ANN401 - structlog's signature
    """The processor: every text in the event, at any depth, and every value under a name that tells of a secret."""
    return {redact(str(name)): _clean(value, str(name)) for name, value in event.items()}


def _clean(value: Any, name: str = "") -> Any:  # noqa: ANN401 - whatever is logged
    if name and value and _SECRET_NAME.search(name):
        return MARK
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bytes | bytearray):
        return redact(value.decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return {redact(str(key)): _clean(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and not name.startswith("exc_info"):
        return [_clean(item) for item in value]
    return value


def _shared() -> list[Processor]:
    return [
        redact_event,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,  # never with local variables: they hold what the caller held
        structlog.processors.StackInfoRenderer(),
    ]


def _formatter(*, for_people: bool) -> logging.Formatter:
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if for_people
        else structlog.processors.JSONRenderer(ensure_ascii=False, default=repr)
    )
    return _Formatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_shared()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


class _Formatter(structlog.stdlib.ProcessorFormatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """A line that cannot be formatted: logging itself would print its arguments, secrets and all."""
        reason = sys.exc_info()[0]
        try:
            self.stream.write(f"a log line of {record.name} could not be written ({reason and reason.__name__})\n")
        except (OSError, ValueError):
            return  # the stream is gone: there is nobody left to tell


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("keyfuse").critical("uncaught exception", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
