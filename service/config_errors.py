"""Mistakes in the configuration folder: all at once, in the user's words, never with a secret in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from schemas.redact import looks_secret, redact
from service.errors import UserError

Loc = tuple[str | int, ...]
HIDDEN: Final = "something that looks like a secret (not shown)"
_MOST_SHOWN: Final = 50
_LONGEST_VALUE: Final = 60


@dataclass(frozen=True)
class ConfigError:
    """One mistake: where it is, what is there, what should be."""

    file: str
    line: int  # 1 is the first; 0 when the file as a whole is meant
    key: str  # dotted path, `keys[3].provider`; empty when the file as a whole is meant
    found: str
    expected: str

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    def __str__(self) -> str:
        return f"{self.place}  {self.key}  found {self.found}; expected {self.expected}"


class ConfigErrors(UserError):
    """The folder cannot be used; `errors` has every mistake, and `str()` shows them as a table."""

    def __init__(self, folder: Path, errors: Iterable[ConfigError]) -> None:
        self.folder = folder
        self.errors: Final = tuple(errors)
        super().__init__(self._table())

    def _table(self) -> str:
        shown = self.errors[:_MOST_SHOWN]
        place = max(len(error.place) for error in shown)
        key = max(len(error.key) for error in shown)
        count = f"{len(self.errors)} mistake{'s' if len(self.errors) > 1 else ''}"
        rows = [f"{e.place:<{place}}  {e.key:<{key}}  found {e.found}; expected {e.expected}" for e in shown]
        more = len(self.errors) - len(shown)
        return "\n  ".join([f"{self.folder}: {count}", *rows, *([f"... and {more} more"] if more else [])])


def dotted(loc: Loc) -> str:
    """The path as people write it, fit to be shown: a secret may stand where a name should.

    >>> dotted(("keys", 3, "provider"))
    'keys[3].provider'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return redact(text.removeprefix("."))


def shown(value: Any, *, loc: Loc = ()) -> str:  # noqa: ANN401 - whatever YAML holds
    """A value as an error may name it."""
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    name = str(loc[-1]) if loc else ""
    if looks_secret(str(value)) or name.endswith("_env"):
        return HIDDEN if looks_secret(str(value)) else "another text (not shown: it may be a secret)"
    text = str(value)
    text = text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"
    return f'"{text}"' if isinstance(value, str) else text


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str = "one of") -> str:
    """`did you mean "x"?`, or the list of what there is.

    >>> did_you_mean("bootstap", ["bootstrap", "partitions"])
    'did you mean "bootstrap"?'
    """
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{redact(close[0])}"?'
    return f"{otherwise} {redact(', '.join(names))}" if names else f"{otherwise} (there are none yet)"
