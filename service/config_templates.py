"""`keyfuse init`: a folder in which every setting stands with its meaning and default, and a schema for editors.

The YAML is made from the models, so it names all settings and no others. Only the examples are written by hand, in
`templates/`; they are commented out, and tests load them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.config import WiringConfig
from service.config_settings import as_yaml, default_of, expected_of, meaning_of, section_of, settings_of
from service.config_tree import FILES, ConfigFile
from service.errors import UserError
from service.secrets import COMMANDS_KEY, create_pepper, create_signing_key

_WIDTH: Final = 110
SCHEMAS: Final = "schemas"


def write_templates(path: Path, *, force: bool = False, pepper_file: Path | None = None) -> list[Path]:
    """Write the folder, its JSON Schemas, the pepper (to `pepper_file`, default that of keyfuse.yaml) and beside it the
    key that signs commands.

    A pepper that exists is kept, even with `force`: another one would give each key another name. So is the key.
    Returns what was written. Raises UserError when files exist (without `force`) or cannot be written.
    """
    existing = [file.name for file in FILES if (path / file.name).exists()]
    if existing and not force:
        raise UserError(f"{path} has {', '.join(existing)} already; nothing was written. `--force` overwrites them")
    pepper = pepper_file or Path(WiringConfig().pepper_file)
    try:
        (path / SCHEMAS).mkdir(parents=True, exist_ok=True)
        written = [_write(path / file.name, render_template(file)) for file in FILES]
        written += [_write(path / schema_name(file), render_schema(file)) for file in FILES]
        if create_pepper(pepper):
            written.append(pepper)
        signing_key = pepper.with_name(COMMANDS_KEY)
        if create_signing_key(signing_key):
            written.append(signing_key)
    except OSError as error:
        raise UserError(f"{error.filename or path} cannot be written: {error.strerror}") from error
    return written


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def schema_name(file: ConfigFile) -> str:
    return f"{SCHEMAS}/{Path(file.name).stem}.schema.json"


def render_schema(file: ConfigFile) -> str:
    """The JSON Schema of one file."""
    schema = file.model.model_json_schema(by_alias=True)
    return json.dumps(schema | {"title": file.name}, indent=2) + "\n"


def render_template(file: ConfigFile, *, examples: bool = False) -> str:
    """One commented YAML file with all defaults; with `examples` what is commented out there is in force."""
    head = [
        f"# yaml-language-server: $schema={schema_name(file)}",
        f"# {file.name}: {file.purpose}",
        "# Every setting is here with its default; what you delete takes the default again.",
        "# `keyfuse check` finds mistakes.",
    ]
    lines = [*head, *_section(file.model, 0, _examples(file.name), in_force=examples)]
    return "\n".join(lines) + "\n"


def _section(model: type[BaseModel], indent: int, examples: dict[str, list[str]], *, in_force: bool) -> Iterator[str]:
    for info_name, info in model.model_fields.items():
        name = info.alias or info_name
        section, each = section_of(info.annotation)
        if indent == 0:
            yield ""
        if section is not None and not each:
            yield from _comment(meaning_of(info), indent)
            yield f"{' ' * indent}{name}:"
            yield from _section(section, indent + 2, {}, in_force=in_force)
        elif name in examples:
            yield from _comment(f"{meaning_of(info)} Default: none.", indent)
            yield from _items(section)
            yield from (line if in_force else f"# {line}" for line in examples[name])
        else:
            yield from _comment(f"{meaning_of(info)} ({expected_of(info, name)}; default {default_of(info)})", indent)
            yield from _setting(name, info, indent)


def _setting(name: str, info: FieldInfo, indent: int) -> Iterator[str]:
    default: Any = info.get_default(call_default_factory=True)
    pad = " " * indent
    if isinstance(default, dict) and default:
        yield f"{pad}{name}:"
        yield from (f"{pad}  {as_yaml(key)}: {as_yaml(value)}" for key, value in default.items())
    elif isinstance(default, dict | tuple):
        yield f"{pad}{name}: {as_yaml(default)}"
    else:
        yield f"{pad}{name}: {default_of(info)}"


def _items(section: type[BaseModel] | None) -> Iterator[str]:
    """What each item of a list or each named section may say."""
    if section is None:
        return
    yield "# Each one has:"
    for setting in settings_of(section):
        default = "required" if setting.default == "required" else f"default {setting.default}"
        yield from _comment(f"- {setting.key} ({setting.expected}; {default}): {setting.meaning}", 0, hang="  ")
    yield "# Example:"


def _comment(text: str, indent: int, *, hang: str = "") -> list[str]:
    pad = f"{' ' * indent}# "
    return [f"{pad}{line}" for line in wrap(text, _WIDTH - indent, subsequent_indent=hang, break_on_hyphens=False)]


def _examples(name: str) -> dict[str, list[str]]:
    """The hand-written examples of a file, by top-level setting."""
    template = files("service").joinpath("templates", name)
    if not template.is_file():
        return {}
    blocks: dict[str, list[str]] = {}
    for line in template.read_text(encoding="utf-8").splitlines():
        start = re.match(r"(\w+):", line)
        blocks.setdefault(start[1] if start else next(reversed(blocks)), []).append(line)
    return blocks
