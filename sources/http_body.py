"""Reading a request body that may be too large, compressed, or a bomb: never more than the limit is held."""

from __future__ import annotations

import zlib
from typing import Final

from starlette.requests import ClientDisconnect, Request

_GZIP: Final = 16 + zlib.MAX_WBITS
_TYPES: Final = frozenset(
    {
        "",
        "application/json",
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/octet-stream",
        "text/plain",
    }
)


class BodyRefused(Exception):
    """The HTTP status to answer with, and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


async def read_body(request: Request, max_bytes: int, *, types: frozenset[str] = _TYPES) -> bytes:
    """The decompressed body; BodyRefused when it is over `max_bytes`, of another type, cut off, or broken gzip."""
    gzipped = _check_headers(request, max_bytes, types)
    inflate = _Inflate(max_bytes)
    parts: list[bytes] = []
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(max_bytes)
            parts.append(inflate.feed(chunk) if gzipped else chunk)
    except ClientDisconnect:
        raise BodyRefused(400, "the body is cut off") from None
    if gzipped:
        inflate.finish()
    return b"".join(parts)


def expected_bytes(request: Request, max_bytes: int) -> int:
    """The most that the body can come to: what it declares, or the limit where that says nothing."""
    declared = request.headers.get("content-length", "")
    plain = request.headers.get("content-encoding", "identity").strip().lower() == "identity"
    return min(int(declared), max_bytes) if plain and declared.isdecimal() else max_bytes


def _check_headers(request: Request, max_bytes: int, types: frozenset[str]) -> bool:
    """Whether the body is gzip."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in types:
        raise BodyRefused(415, "send application/json or application/x-ndjson")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        raise BodyRefused(415, "the only Content-Encoding taken is gzip")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    return encoding == "gzip"


class _Inflate:
    """Gzip, member by member, never giving out more than the limit in all."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._member = zlib.decompressobj(_GZIP)

    def feed(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            try:
                part = self._member.decompress(data, self._left + 1)
            except zlib.error:
                raise BodyRefused(400, "the body is not gzip") from None
            self._left -= len(part)
            if self._left < 0:
                raise _too_large(self._max_bytes)
            parts.append(part)
            data = self._member.unused_data
        return b"".join(parts)

    def finish(self) -> None:
        if not self._member.eof:
            raise BodyRefused(400, "the gzip body is cut off")


def _too_large(max_bytes: int) -> BodyRefused:
    return BodyRefused(413, f"more than {max_bytes} bytes: send fewer events at a time")
