"""GitHub's public keys for secret scanning, and whether one of them signed a body.

GitHub signs the raw body with ECDSA over P-256 and SHA-256, and names the key it used. New keys appear without notice,
so an unknown name makes us look again, but never more than once a minute: anybody can send an unknown name.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import httpx
import orjson
import structlog
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import SecretStr

PublicKeys = Mapping[str, ec.EllipticCurvePublicKey]
_FRESH_S: Final = 3600.0  # then we look whether a key was withdrawn
_STALE_S: Final = 24 * 3600.0  # so long the last keys hold while GitHub does not answer
_AGAIN_S: Final = 60.0
_TIMEOUT_S: Final = 10.0
_MAX_BYTES: Final = 1_000_000
log = structlog.get_logger()


class KeysUnavailable(Exception):
    """GitHub's keys cannot be had just now, so nobody can say who signed."""


def parse_keys(document: bytes) -> PublicKeys:
    """The keys of GitHub's document, by `key_identifier`; others than P-256 are left out. ValueError for none."""
    try:
        listed = orjson.loads(document)["public_keys"]
        pairs = [(one["key_identifier"], _public_key(one["key"])) for one in listed]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError("not a list of GitHub's public keys: expected public_keys with key_identifier, key") from error
    keys = {name: key for name, key in pairs if isinstance(name, str) and key is not None}
    if not keys:
        raise ValueError("no P-256 key in the list of GitHub's public keys")
    return keys


def _public_key(pem: object) -> ec.EllipticCurvePublicKey | None:
    try:
        key = load_pem_public_key(pem.encode() if isinstance(pem, str) else b"")
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1) else None


def signed_by(key: ec.EllipticCurvePublicKey, signature: str, body: bytes) -> bool:
    """Whether this base64 of a DER signature over the raw body is the key's."""
    try:
        key.verify(base64.b64decode(signature, validate=True), body, ec.ECDSA(SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


class GithubKeys:
    """Remembers the keys; `fetch` gives GitHub's document and may raise OSError, httpx.HTTPError or ValueError."""

    def __init__(self, fetch: Callable[[], Awaitable[bytes]], *, now_s: Callable[[], float]) -> None:
        self._fetch, self._now_s = fetch, now_s
        self._keys: PublicKeys = {}
        self._fetched_s = self._tried_s = -float("inf")
        self._turn = asyncio.Lock()

    async def signed(self, name: str, signature: str, body: bytes) -> bool:
        """Whether GitHub signed the body with the key of that name. KeysUnavailable when that cannot be said."""
        if name not in self._keys or self._now_s() - self._fetched_s > _FRESH_S:
            async with self._turn:
                await self._refresh(name)
        key = self._keys.get(name)
        if key is None and self._fetched_s < self._tried_s:
            raise KeysUnavailable
        return key is not None and signed_by(key, signature, body)

    async def _refresh(self, name: str) -> None:
        now_s = self._now_s()
        if name in self._keys and now_s - self._fetched_s <= _FRESH_S:
            return  # another request has looked meanwhile
        if now_s - self._tried_s < _AGAIN_S:
            return
        self._tried_s = now_s
        try:
            self._keys = parse_keys(await self._fetch())
            self._fetched_s = now_s
        except (OSError, httpx.HTTPError, ValueError) as error:
            log.warning("GitHub's public keys cannot be had", why=str(error))
            if now_s - self._fetched_s > _STALE_S:
                self._keys = {}


def from_address(url: str, token: SecretStr | None) -> Callable[[], Awaitable[bytes]]:
    """GitHub's own list. With a token of no rights at all it may be asked 5,000 times an hour instead of 60."""
    headers = {"Accept": "application/vnd.github+json", "User-Agent": "keyfuse"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"

    async def fetch() -> bytes:
        async with (
            httpx.AsyncClient(timeout=_TIMEOUT_S) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            answer.raise_for_status()
            parts: list[bytes] = []
            async for part in answer.aiter_bytes():
                parts.append(part)
                if sum(map(len, parts)) > _MAX_BYTES:
                    raise ValueError(f"more than {_MAX_BYTES} bytes")
            return b"".join(parts)

    return fetch


def from_file(path: Path) -> Callable[[], Awaitable[bytes]]:
    """The same document, kept by hand where there is no way out."""

    async def fetch() -> bytes:
        return await asyncio.to_thread(path.read_bytes)

    return fetch
