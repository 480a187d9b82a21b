"""What a text in a setting must look like, whatever the setting: the checks that several files share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from service.config_errors import ConfigError, Loc, shown
from service.yaml_source import Source

_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
Sources = Mapping[str, Source]  # by the part of the folder; only those files whose settings are valid by themselves
Errors = Iterator[ConfigError]


def variable(source: Source, loc: Loc, name: str) -> Errors:
    """Strict on purpose: a token pasted where its variable's name belongs is caught here, and not shown."""
    digits = sum(letter.isdigit() for letter in name)
    pasted = len(name) >= 20 and "_" not in name and digits >= 3
    if name and (pasted or not _VARIABLE.fullmatch(name)):
        expected = "the name of an environment variable: capital letters, digits and _, like SLACK_TOKEN"
        yield source.error(loc, shown(name, loc=loc), expected)


def address(source: Source, loc: Loc, url: str) -> Errors:
    if not url:
        return
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        yield source.error(loc, shown(url), "an address that begins with https:// or http://")
