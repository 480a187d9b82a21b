"""`keyfuse keys import`: what a provider has against what is registered, and a patch of keys.yaml. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import yaml
from rich.console import Console

from alerting.words import clean, counted
from containment.inventories.base import Inventory
from containment.inventories.build import KINDS, build_inventory
from containment.providers.errors import ProviderError
from controls.inventory import Inventoried, Listed, compare, env_of
from schemas.config.keys import KeysConfig
from schemas.records import rfc3339
from schemas.redact import redact
from service.adapters import admin_key_of
from service.errors import UserError
from service.install import Install
from service.issued import open_all
from service.yaml_patch import patch as patch_from
from service.yaml_patch import with_entry

FILE: Final = "keys.yaml"
_SHOWN: Final = 50


class Said(NamedTuple):
    """The options."""

    source: str
    patch: Path | None = None
    as_json: bool = False


def main(config: Path, said: Said, *, out: Console) -> None:
    """Ask, compare, propose. UserError for a provider that is not configured or does not answer."""
    known = open_all(config)  # what Keyfuse had made there itself is not new
    install = known.install
    name = provider_named(install, said.source)
    listed = asyncio.run(_listed(_inventory(install, name)))
    found = compare(listed, install.registry.entries().values(), provider=name)
    file = config / FILE
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    patch = patch_from(FILE, before, with_entries(before, found.new, provider=name)) if found.new else ""
    if said.patch is not None and patch:
        try:
            said.patch.write_text(patch, encoding="utf-8")
        except OSError as error:
            raise UserError(f"--patch {said.patch}: cannot be written: {error.strerror}") from error
    if said.as_json:
        out.print(orjson.dumps(as_json(found), option=orjson.OPT_INDENT_2).decode(), markup=False)
        return
    out.print("\n".join([*lines(found, provider=name), *filter(None, [known.said])]), markup=False)
    if patch:
        out.print(f"\n{_next(said.patch, config)}" + ("" if said.patch else f"\n\n{patch}"), markup=False)


def provider_named(install: Install, source: str) -> str:
    """A name of `providers`, or a kind that only one of them has."""
    providers = install.folder.wiring.providers
    if source in providers:
        return source
    names = [name for name, config in providers.items() if config.kind == source]
    if len(names) == 1:
        return names[0]
    if names:
        raise UserError(f"--from {source}: several providers are of that kind; name one of {', '.join(names)}")
    able = [name for name, config in providers.items() if config.kind in KINDS]
    known = f"those of keyfuse.yaml are {', '.join(able)}" if able else "keyfuse.yaml has none: add it to `providers`"
    raise UserError(f"--from {source}: no provider of that name or kind; {known}")


def _inventory(install: Install, name: str) -> Inventory:
    config = install.folder.wiring.providers[name]
    secret = admin_key_of(install, name)
    try:
        return build_inventory(name, config, secret, timeout_s=install.folder.responses.retry.timeout_s)
    except ValueError as error:
        raise UserError(str(error)) from error


async def _listed(inventory: Inventory) -> list[Listed]:
    try:
        return await inventory.listed()
    except ProviderError as error:
        raise UserError(f"the list of keys could not be read: {error}") from error
    finally:
        await inventory.close()


def with_entries(text: str, new: Sequence[Listed], *, provider: str) -> str:
    """The file with an entry for each new key, behind those that are there; everything else as it was.

    UserError when the file is written in a way that entries cannot be added to.
    """
    try:
        whole = with_entry(text, "keys", "".join(f"{line}\n" for key in new for line in _entry(key, provider)))
        KeysConfig.model_validate(yaml.safe_load(whole))
    except (yaml.YAMLError, ValueError) as error:
        words = f"{FILE}: entries cannot be added to how `keys` is written there; list each key with `- `"
        raise UserError(words) from error
    return whole


def _entry(key: Listed, provider: str) -> list[str]:
    """Lines of YAML. What is guessed says so; whose it is has to be written by a person."""
    env = env_of(key)
    fields: dict[str, Any] = {"key_id": key.key_id, "provider": provider, "provider_ref": key.provider_ref}
    fields |= {"purpose": _text(key.name)} if key.name else {}
    fields |= {"env": env} if env else {}
    fields |= {name: _day(at) for name, at in (("created", key.created_ms), ("expires", key.expires_ms)) if at}
    dumped = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=10_000).splitlines()
    told = [f"{what} {_text(value)}" for what, value in (("in", key.place), ("made by", key.owner)) if value]
    told += [f"ends in {_text(key.hint)}"] if key.hint else []
    told += [f"last used {rfc3339(key.used_ms)[:10]}"] if key.used_ms else []
    comment = f"# at the provider: {', '.join(told)}" if told else "# from the provider's list"
    guessed = ["env"] if env else []
    todo = f"# to do: team, app, owner{', and check ' + guessed[0] if guessed else ', env'}"
    return [comment, todo, f"- {dumped[0]}", *(f"  {line}" for line in dumped[1:])]


def _text(text: str) -> str:
    """Foreign words: one line, and nothing in them that could be a secret."""
    return redact(clean(text, 120))


def _day(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms // 1000, UTC)


def _next(patch: Path | None, config: Path) -> str:
    if patch is not None:
        return f"written: {patch}; look at it, fill in whose each key is, then: patch -d {config} -p1 < {patch}"
    return "what keys.yaml could be given (--patch FILE writes it; `patch -p1` in the folder takes it):"


def lines(found: Inventoried, *, provider: str) -> list[str]:
    """For the terminal."""
    said = [
        f"{provider}: {counted(found.same, 'key')} as registered, {len(found.new):,} new, {len(found.gone):,} gone, "
        f"{len(found.changed):,} changed"
        + (f"; {len(found.resting):,} more are disabled there and not registered" if found.resting else "")
    ]
    said += _listing("new", [f"{_text(key.provider_ref)}  {_text(key.name)}  {_text(key.place)}" for key in found.new])
    gone = [f"{entry.key_id}  {entry.provider_ref}  of {entry.team}/{entry.app}" for entry in found.gone]
    said += _listing("gone: registered as in use, not at the provider any more", [clean(line) for line in gone])
    changed = [f"{one.key_id}: {'; '.join(one.what)}" for one in found.changed]
    return said + _listing("changed", [clean(line) for line in changed])


def _listing(title: str, rows: list[str]) -> list[str]:
    if not rows:
        return []
    more = [f"  and {len(rows) - _SHOWN:,} more; --json has them all"] if len(rows) > _SHOWN else []
    return ["", f"{title}:", *(f"  {row}" for row in rows[:_SHOWN]), *more]


def as_json(found: Inventoried) -> dict[str, Any]:
    """For programs."""
    return {
        "new": [key._asdict() for key in found.new],
        "resting": [key._asdict() for key in found.resting],
        "gone": [{"key_id": entry.key_id, "provider_ref": entry.provider_ref} for entry in found.gone],
        "changed": [one._asdict() for one in found.changed],
        "same": found.same,
    }
