"""The folder of YAML as one typed tree, checked as a whole; watched for changes; `python -m service.config_folder`
prints docs/configuration.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from schemas.config import DetectorsConfig
from service.config_checks import cross_check
from service.config_docs import render_docs
from service.config_errors import ConfigError, ConfigErrors, did_you_mean, dotted, shown
from service.config_settings import expected_at, names_at, place_of
from service.config_templates import write_templates
from service.config_tree import FILES, SHADOW, ConfigFile, Folder
from service.yaml_source import Source, read_source

__all__ = ["ConfigError", "ConfigErrors", "Folder", "FolderWatch", "load_detectors", "load_folder", "write_templates"]

_Stamp = tuple[tuple[str, int, int, int], ...]
_NAMES: Final = tuple(file.name for file in (*FILES, SHADOW))


def load_folder(path: Path) -> Folder:
    """All files of the folder; a file that is missing or empty, or a missing folder, means the defaults.

    Raises:
        ConfigErrors: with every mistake in every file.
    """
    if path.exists() and not path.is_dir():
        raise ConfigErrors(path, [ConfigError(path.name, 0, "", "a file", "a folder; `keyfuse init` makes one")])
    errors = list(_strangers(path))
    parts: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    for file in (*FILES, SHADOW) if (path / SHADOW.name).exists() else FILES:
        source = read_source(path / file.name)
        found, config = _parse(file, source)
        errors.extend(found)
        if config is not None:
            parts[file.part], sources[file.part] = config, source
    folder = replace(Folder(), **parts)
    errors.extend(cross_check(folder, sources))
    if errors:
        order = {name: number for number, name in enumerate(_NAMES)}
        raise ConfigErrors(path, sorted(_first_of_each(errors), key=lambda e: (order.get(e.file, -1), e.line)))
    return folder


def load_detectors(path: Path) -> DetectorsConfig:
    """One file that is written like `detectors.yaml`, whatever its name.

    Raises:
        ConfigErrors: it is missing, or with every mistake in it.
    """
    if not path.is_file():
        raise ConfigErrors(path, [ConfigError(path.name, 0, "", "nothing", "a file like detectors.yaml, or a folder")])
    source = read_source(path)
    errors, config = _parse(SHADOW, source)
    if isinstance(config, DetectorsConfig):
        errors = [*errors, *cross_check(Folder(detectors=config), {"detectors": source})]
        if not errors:
            return config
    raise ConfigErrors(path.parent, sorted(_first_of_each(errors), key=lambda e: e.line))


def load_file(path: Path, file: ConfigFile) -> tuple[BaseModel, Source]:
    """One file of a kind of its own, with where each value stands.

    Raises:
        ConfigErrors: it is missing, or with every mistake in it.
    """
    if not path.is_file():
        raise ConfigErrors(path.parent, [ConfigError(path.name, 0, "", "nothing", f"a file: {file.purpose}")])
    source = read_source(path)
    errors, config = _parse(file, source)
    if errors or config is None:
        raise ConfigErrors(path.parent, sorted(_first_of_each(errors), key=lambda e: e.line))
    return config, source


class FolderWatch:
    """Hot reload: ask `poll` now and then. What is invalid is told once and changes nothing.

    `current` is the tree in force. Polling costs one `stat` a file while nothing changes.
    """

    def __init__(self, path: Path, *, read_again: Callable[[Path], Folder] = load_folder) -> None:
        """Raises ConfigErrors when the folder is invalid from the start."""
        self._path, self._read_again = path, read_again
        self._stamp = _stamp(path)
        self._told: tuple[ConfigError, ...] = ()
        self.current = load_folder(path)

    def poll(self) -> Folder | ConfigErrors | None:
        """The new tree, or the mistakes that keep the old one in force, or None when there is nothing new.

        After mistakes the tree is returned even if it is the old one: all is well again.
        """
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return None
        self._stamp = stamp  # taken before reading: a change in between is seen next time
        try:
            folder = self._read_again(self._path)
        except ConfigErrors as errors:
            news = errors.errors != self._told
            self._told = errors.errors
            return errors if news else None
        if folder == self.current and not self._told:
            return None
        self.current, self._told = folder, ()
        return folder


def _stamp(path: Path) -> _Stamp:
    stamps = []
    for name in _NAMES:
        try:
            stat = (path / name).stat()
        except OSError:
            continue
        stamps.append((name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(stamps)


def _strangers(path: Path) -> Iterator[ConfigError]:
    """Files that nobody would read although somebody thinks so."""
    for stranger in sorted(path.glob("*.y*ml")):
        meant = get_close_matches(stranger.with_suffix(".yaml").name, _NAMES, n=1, cutoff=0.8)
        if meant and stranger.name not in _NAMES:
            yield ConfigError(stranger.name, 0, "", "a file that is not read", f'did you mean "{meant[0]}"?')


def _parse(file: ConfigFile, source: Source) -> tuple[list[ConfigError], BaseModel | None]:
    """Mistakes of the file alone, and its settings when there are none that matter to the other files."""
    try:
        config = file.parse(source.data)
    except ValidationError as invalid:
        details = invalid.errors(include_url=False, include_context=False)
        return source.errors + [_in_words(file, source, detail) for detail in details], None
    return source.errors, None if source.errors else config


def _in_words(file: ConfigFile, source: Source, detail: ErrorDetails) -> ConfigError:
    loc = place_of(file.model, detail["loc"])
    if detail["type"] == "extra_forbidden":
        unknown = dotted((str(loc[-1]),))
        return source.error(loc, f'unknown setting "{unknown}"', did_you_mean(unknown, names_at(file.model, loc[:-1])))
    if detail["type"] == "value_error" and isinstance(detail["input"], dict):  # a section's own check, in its words
        return source.error(loc, "what cannot be", detail["msg"].removeprefix("Value error, "))
    expected = expected_at(file.model, loc)
    if detail["type"] == "missing":
        return source.error(loc, "nothing", f"{expected} (required)")
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        hint = did_you_mean(detail["input"], expected.removeprefix("one of ").split(", "), otherwise="")
        expected += f"; {hint}" if "did you mean" in hint else ""
    quotes = detail["type"] == "string_type" and isinstance(detail["input"], int | float)
    return source.error(loc, shown(detail["input"], loc=loc), expected + (" (put it in quotes)" if quotes else ""))


def _first_of_each(errors: list[ConfigError]) -> list[ConfigError]:
    """One mistake to a place: what follows from it would only confuse."""
    first: dict[tuple[str, int, str], ConfigError] = {}
    for error in errors:
        first.setdefault((error.file, error.line, error.key), error)
    return list(first.values())


if __name__ == "__main__":
    sys.stdout.write(render_docs())
