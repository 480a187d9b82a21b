"""A YAML file as plain data that remembers its lines, and everything YAML itself can get wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from schemas.redact import looks_secret, redact
from service.config_errors import HIDDEN, ConfigError, Loc, dotted, shown

_MAX_DEPTH: Final = 20
_MAX_VALUES: Final = 1_000_000  # aliases of aliases could ask for more than any memory holds
_MAX_BYTES: Final = 50_000_000
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there
_TOO_DEEP: Final = "lists or sections in each other without end, or far too much of them"
_SETTINGS: Final = "settings, one `name: value` to a line"
_NO_SECRETS: Final = "the name of an environment variable or file: secrets do not belong into YAML"
_NO_KEYS: Final = "its key_id (`fp1:...` or the provider's public id), never the key itself"


@dataclass
class Source:
    """One file: its data, where each value stands, and what is wrong so far."""

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    errors: list[ConfigError] = field(default_factory=list)
    lines: dict[Loc, int] = field(default_factory=dict)

    def line(self, loc: Loc) -> int:
        """The line of a value, or of the nearest thing around it."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return self.lines.get(loc, 1)

    def error(self, loc: Loc, found: str, expected: str) -> ConfigError:
        return ConfigError(self.file, self.line(loc), dotted(loc), found, expected)


def read_source(path: Path) -> Source:
    """The file, or an empty one when it is missing; never raises for what a person can write."""
    source = Source(path.name)
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        return source
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        source.errors.append(ConfigError(path.name, line, "", "bytes that are not UTF-8", "a text file in UTF-8"))
        return source
    except OSError as error:
        source.errors.append(ConfigError(path.name, 0, "", f"({error.strerror})", "a file that can be read"))
        return source
    return parse_source(path.name, text)


def parse_source(file: str, text: str, *, max_values: int = _MAX_VALUES) -> Source:
    """The text as data with lines."""
    source = Source(file)
    if len(text) > _MAX_BYTES:
        source.errors.append(ConfigError(file, 0, "", f"{len(text):,} characters", f"at most {_MAX_BYTES:,}"))
        return source
    try:
        root = _compose(text)
        value = _Walk(source, max_values).value(root, ()) if root else None
    except yaml.MarkedYAMLError as error:
        source.errors.append(_syntax_error(file, text, error))
        return source
    except (yaml.YAMLError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        found = _TOO_DEEP if deep else redact(str(error).splitlines()[0])
        expected = f"at most {_MAX_DEPTH} levels and {max_values:,} values" if deep else "valid YAML"
        source.errors.append(ConfigError(file, 0, "", found, expected))
        return source
    if isinstance(value, dict):
        source.data = value
    elif value is not None:
        source.errors.append(source.error((), shown(value), _SETTINGS))
    return source


def _compose(text: str) -> yaml.Node | None:
    """The document as nodes; RecursionError when it nests too deep, which would crash the fast composer."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise RecursionError
    loader = _LOADER(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
    finally:
        loader.dispose()
    return node


def _syntax_error(file: str, text: str, error: yaml.MarkedYAMLError) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    written = text.splitlines()[line - 1] if 0 < line <= len(text.splitlines()) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return ConfigError(file, line, "", "a tab", "spaces: YAML does not take tabs before a setting")
    if error.problem and "another document" in error.problem:
        return ConfigError(file, line, "", "a second document (`---`)", "one document to a file")
    found = ": ".join(part for part in (error.context, error.problem) if part)
    return ConfigError(file, line, "", f"YAML that cannot be read ({redact(found)})", "valid YAML")


class _Walk:
    """From YAML nodes to data, noting lines and mistakes on the way."""

    def __init__(self, source: Source, max_values: int) -> None:
        self._source = source
        self._max_values = max_values
        self._values = 0
        self._scalars = yaml.SafeLoader("")

    def value(self, node: yaml.Node, loc: Loc) -> Any:  # noqa: ANN401 - whatever YAML holds
        self._source.lines.setdefault(loc, node.start_mark.line + 1)
        self._values += 1
        if len(loc) > _MAX_DEPTH or self._values > self._max_values:
            raise RecursionError
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, loc)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._wrong(loc, "a section or list as a name", "text before the `:`", key_node)
                continue
            name = key_node.value  # as written: `no:` is a name here, not a truth value
            here = (*loc, name)
            if name in found:
                self._wrong(here, "it a second time", f"it once (first on line {self._source.line(here)})", key_node)
                continue
            self._source.lines[here] = key_node.start_mark.line + 1
            if looks_secret(name):
                self._wrong(here, HIDDEN, _NO_KEYS)
            found[name] = self.value(value_node, here)
        return found

    def _scalar(self, node: yaml.Node, loc: Loc) -> Any:  # noqa: ANN401 - whatever YAML holds
        if looks_secret(str(node.value)):
            is_name = bool(loc) and ("key_id" in loc or any(part in {"keys", "protected_keys"} for part in loc))
            self._wrong(loc, HIDDEN, _NO_KEYS if is_name else _NO_SECRETS)
        try:
            value = self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self._wrong(loc, f"a value marked {redact(node.tag)} that does not fit", "a plain value")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._wrong(loc, str(node.value), "a finite number")
            return None
        return value

    def _wrong(self, loc: Loc, found: str, expected: str, node: yaml.Node | None = None) -> None:
        line = node.start_mark.line + 1 if node else self._source.line(loc)
        self._source.errors.append(ConfigError(self._source.file, line, dotted(loc), found, expected))
