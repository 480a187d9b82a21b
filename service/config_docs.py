"""docs/configuration.md, from the models: it cannot drift from what the code takes."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from service.config_settings import Setting, field_at, section_of, settings_of
from service.config_tree import FILES, ConfigFile

_HEAD: Final = """# Configuration

<!-- Made by `python -m service.config_folder`; a test keeps it true. -->

Keyfuse reads a folder (`--config`, default `keyfuse.d`) of seven YAML files. `keyfuse init` writes them with every
setting, its meaning and its default. A file or setting that is missing takes the default. `keyfuse check` shows all
mistakes at once, each with its file, line, what was found and what was expected.

- **Changes** are taken while Keyfuse runs. A folder with a mistake changes nothing: the settings in force stay, an
  alert tells the mistakes once, and `keyfuse_config_errors_total` counts.
- **Secrets** never stand in these files. Settings that end in `_env` name an environment variable, `secret_file` and
  `pepper_file` a file that only its owner and group may read. A secret in the folder is a mistake, and is not shown.
- **On trial.** An eighth file may be there: `detectors.shadow.yaml`, written like `detectors.yaml`. What it says is
  kept and never acted on; see [tuning](tuning.md).
- **Editors** check while you type: each file names its JSON Schema, which `keyfuse init` writes to `schemas/`.
- **Names**: `<name>` stands for a name of your own, `[]` for each item of a list.
"""


def render_docs() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(line for file in FILES for line in _file(file))])


def _file(file: ConfigFile) -> list[str]:
    lines = [f"## {file.name}", "", file.purpose, ""]
    for section, settings in groupby(settings_of(file.model), lambda s: s.path[0] if len(s.path) > 1 else ""):
        if section and not section_of(field_at(file.model, (section,))[0])[1]:
            lines += [f"### {section}", "", _about(file, section), ""]
        lines += settings_table(list(settings))
    return lines


def _about(file: ConfigFile, section: str) -> str:
    model, _ = section_of(field_at(file.model, (section,))[0])
    return " ".join(((model and model.__doc__) or "").split())


def settings_table(settings: list[Setting]) -> list[str]:
    """Markdown lines: each setting with what it may be, its default and its meaning."""
    head = ["| setting | value | default | what it does |", "|---|---|---|---|"]
    return [*head, *(_row(setting) for setting in settings), ""]


def _row(setting: Setting) -> str:
    default = setting.default if setting.default in {"none", "required"} else f"`{setting.default}`"
    cells = [f"`{setting.key}`", setting.expected, default, setting.meaning]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
