"""Migration files, read as statements."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

_PIECE: Final = re.compile(
    r"""(?P<quoted>'(?:\\.|''|[^'\\])*'|`(?:\\.|[^`\\])*`|"(?:\\.|[^"\\])*")
      | (?P<comment>--[^\n]*|/\*.*?\*/)
      | (?P<end>;)
      | (?P<other>[^;'`"/-]+|.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @classmethod
    def of(cls, name: str, text: str) -> Migration:
        """From a file name like `0001_usage.sql`; ValueError for another."""
        match = re.fullmatch(r"(\d{4})_[a-z0-9_]+\.sql", name)
        if match is None:
            raise ValueError(f"{name}: a migration is named like 0001_usage.sql")
        return cls(int(match[1]), name, text)


def statements(text: str) -> list[str]:
    r"""The statements of a file, without comments; a semicolon in quotes or comments ends nothing.

    >>> statements("SELECT ';' -- a; b\n; SELECT 2")
    ["SELECT ';'", 'SELECT 2']
    """
    found = [""]
    for piece in _PIECE.finditer(text):
        if piece["end"]:
            found.append("")
        elif piece["comment"]:
            found[-1] += " "
        else:
            found[-1] += piece[0]
    return [statement.strip() for statement in found if statement.strip()]
