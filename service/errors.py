"""What the person at the terminal can mend: the one place where errors of all layers become sentences for them."""

from __future__ import annotations

from typing import Final

EXIT_USER_ERROR: Final = 2
"""Exit code where it ends with what a person can mend."""


class UserError(Exception):
    """One sentence in the user's words with the fix; the command ends with `EXIT_USER_ERROR`."""


# By name, because the classes live in modules that `keyfuse --help` has no time to import. An error of a class that
# was never imported cannot be raised either.
_FOR_PEOPLE: Final = frozenset(
    {
        "aiokafka.errors.KafkaError",
        "alerting.channels.errors.ChannelError",
        "service.tansu.BrokerError",
        "storage.errors.StoreError",
        "streams.errors.StreamError",
    }
)
_BROKER: Final = "check kafka.bootstrap in keyfuse.yaml and that the broker runs"
_HINTS: Final = {
    "aiokafka.errors.KafkaError": _BROKER,
    "storage.errors.Unreachable": "check store.dsn in keyfuse.yaml and that ClickHouse runs",
    "streams.errors.BrokerDown": _BROKER,
}


def for_people(error: BaseException) -> str | None:
    """The sentence for an error that a person can mend; None for a mistake of ours, which deserves a traceback."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, BaseExceptionGroup):
        told = [for_people(each) for each in error.exceptions]
        return next((words for words in told if words), None) if all(told) else None
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if names & _FOR_PEOPLE:
        hint = next((hint for name, hint in _HINTS.items() if name in names), "")
        return f"{error}; {hint}" if hint else str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return None
