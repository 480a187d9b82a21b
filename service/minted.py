"""A provider's credential that was made, where it lies sealed: in the topic that carried it, until that forgets it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import orjson
from pydantic import SecretStr, ValidationError

from containment.sealing import new_reader, unseal
from schemas.minting import Minted
from service.errors import UserError
from service.install import Install
from service.secrets import create_file
from streams.follow import follow
from streams.topics import Topic

_FOLDER: Final = "asks"


async def find_minted(install: Install, bootstrap: str, request_id: str) -> Minted | None:
    """The newest word on this request; None when nothing was made for it, or the topic has forgotten."""
    found: list[Minted] = []

    def take(key: bytes | None, value: bytes | None) -> bool:
        if key == request_id.encode() and value is not None and _type(value) == "minted":
            try:
                found.append(Minted.from_bytes(value))
            except ValidationError:
                return False
        return False

    topics = install.topics
    name, count = topics.name(Topic.KEY_ASKS), topics.count(Topic.KEY_ASKS)
    await follow(bootstrap, name, count, take=take, changed=lambda: None, stopping=lambda: True)
    return found[-1] if found else None


def _type(value: bytes) -> object:
    try:
        return orjson.loads(value).get("type")
    except (orjson.JSONDecodeError, AttributeError):
        return None


def keep_reader(install: Install, request_id: str) -> str:
    """Make the key that a credential is sealed to, and keep its private half until it is collected. The public half."""
    private, public = new_reader()
    if not create_file(_path(install, request_id), private.get_secret_value()):
        raise UserError(f"the request {request_id} was made here before: `keyfuse keys collect {request_id}`")
    return public


def collect(install: Install, minted: Minted) -> SecretStr:
    """Open it, once: then nobody can any more. UserError where it was not asked for from here."""
    path = _path(install, minted.request_id)
    try:
        private = SecretStr(path.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; collect it where it was asked for, once") from error
    try:
        secret = unseal(minted.sealed, private, minted.request_id)
    except ValueError as error:
        raise UserError(f"{minted.request_id}: {error}") from error
    path.unlink()
    return secret


def _path(install: Install, request_id: str) -> Path:
    return install.data_dir / _FOLDER / f"{request_id.replace(':', '_')}.key"
