"""An archive of evidence: a ZIP file whose manifest names each member with its SHA-256, and may be signed. Pure."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig.json"
FORMAT: Final = 1
_DATE: Final = (1980, 1, 1, 0, 0, 0)  # the same members make the same bytes, whenever they are packed
_DAMAGED: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, AttributeError, RuntimeError, json.JSONDecodeError,
    UnicodeDecodeError,
)  # fmt: skip
_MEMBER_MOST_BYTES: Final = 4_000_000_000
Sign = Callable[[bytes], tuple[str, str]]  # the public key and the signature
Check = Callable[[bytes, str, str], bool]  # data, signature, public key


@dataclass(frozen=True)
class Verified:
    """What was found: nothing in `wrong` means that all members are as they were packed."""

    wrong: tuple[str, ...]
    members: int
    public_key: str  # empty: unsigned
    manifest: Mapping[str, Any]


def pack(members: Mapping[str, bytes], about: Mapping[str, Any], sign: Sign | None) -> bytes:
    """The archive's bytes. `about` goes into the manifest beside the members."""
    listed = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in sorted(members.items())
    }
    manifest = json.dumps({"format": FORMAT, **about, "members": listed}, indent=2, ensure_ascii=False).encode()
    written = {MANIFEST: manifest, **dict(sorted(members.items()))}
    if sign is not None:
        public_key, signature = sign(manifest)
        said = {"algorithm": "ed25519", "of": MANIFEST, "public_key": public_key, "signature": signature}
        written[SIGNATURE] = json.dumps(said, indent=2).encode()
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in written.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), data, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def verify(data: bytes, check: Check) -> Verified:
    """ValueError for a file that is no such archive at all."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            manifest = archive.read(MANIFEST)
            told = json.loads(manifest)
            wrong = list(_members(archive, names, told["members"]))
            said = _signature(archive.read(SIGNATURE)) if SIGNATURE in names else None
    except _DAMAGED as error:
        raise ValueError("no archive of `keyfuse forensics`, or its manifest is damaged") from error
    public_key = ""
    if said is not None:
        public_key = str(said.get("public_key", ""))
        if not check(manifest, str(said.get("signature", "")), public_key):
            wrong.insert(0, f"{MANIFEST} is not what {SIGNATURE} signs: it was changed")
    return Verified(tuple(wrong), len(told["members"]), public_key, told)


def _signature(data: bytes) -> Mapping[str, Any]:
    """What it says; empty for what is no signature, which then signs nothing."""
    said = json.loads(data)
    return said if isinstance(said, dict) else {}


def _members(archive: zipfile.ZipFile, names: list[str], listed: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, told in listed.items():
        if names.count(name) != 1:
            yield f"{name} is missing" if name not in names else f"{name} is there more than once"
        elif (found := _digest(archive, name)) != told["sha256"]:
            yield f"{name} was changed" if found else f"{name} is damaged"
    for name in dict.fromkeys(names):
        if name not in listed and name not in (MANIFEST, SIGNATURE):
            yield f"{name} was put in: the manifest does not name it"
        elif name in (MANIFEST, SIGNATURE) and names.count(name) != 1:
            yield f"{name} is there more than once"


def _digest(archive: zipfile.ZipFile, name: str) -> str:
    """Empty for a member that cannot be unpacked."""
    if archive.getinfo(name).file_size > _MEMBER_MOST_BYTES:
        return ""
    digest = hashlib.sha256()
    try:
        with archive.open(name) as stream:
            while part := stream.read(1 << 20):
                digest.update(part)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError):
        return ""
    return digest.hexdigest()
