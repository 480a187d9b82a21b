"""`audit`, `forensics` and `postmortem`: what is handed to those who were not there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from rich.console import Console

from schemas.audit_chain import Head, Link
from schemas.records import Record, rfc3339
from schemas.signing import Signer, is_signed, public_key_of
from service.errors import UserError
from service.evidence_answers import AuditAnswer, judged
from service.evidence_archive import pack, verify
from service.evidence_facts import Evidence
from service.evidence_members import about, members
from service.evidence_state import live_state
from service.history import Wanted
from service.install import Install, wall_ms
from service.postmortem import draft
from service.query_commands import answer_of

WRONG: Final = 1
"""Exit code when something was changed."""
_SHOWN: Final = 50


def audit_verify(config: Path, file: str, wanted: Wanted, *, public_key: str, out: Console) -> int:
    """Of the store, or of a file that `audit export` wrote. The exit code: 1 when anything is wrong."""
    install = Install.open(config)
    answer = _of_file(Path(file), wanted) if file else _of_store(install, wanted)
    trusted = _trusted(install, public_key)
    wrong = [*answer.wrong, *_unsigned_or_forged(answer.heads, trusted)]
    if public_key and not any(head.public_key in trusted for head in answer.heads):
        wrong.append(f"no head is signed by {' or '.join(sorted(trusted))}")
    for words in wrong[:_SHOWN]:
        out.print(words, markup=False)
    if len(wrong) > _SHOWN:
        out.print(f"and {len(wrong) - _SHOWN} more")
    told = f"{answer.rows:,} rows in {answer.chains} chains, {len(answer.heads)} heads"
    out.print(f"{'BROKEN' if wrong else 'intact'}: {told}; {_signatures(answer.heads, trusted)}", markup=False)
    if answer.older:
        out.print(f"{answer.older:,} rows stand in no chain: they are older than it, and nothing vouches for them")
    return WRONG if wrong else 0


def audit_export(config: Path, file: str, wanted: Wanted, *, heads_only: bool, out: Console) -> None:
    """Rows and heads as JSON lines, or the heads alone, to be kept where nobody of this install can write."""
    answer = _of_store(Install.open(config), wanted, whole=True)
    records: list[Record] = [*([] if heads_only else answer.links), *answer.heads]
    data = b"".join(record.to_bytes() + b"\n" for record in records)
    if file == "-":
        out.print(data.decode(), end="", markup=False)
        return
    _write(Path(file), data)
    rows = "" if heads_only else f"{len(answer.links):,} rows and "
    out.print(f"{rows}{len(answer.heads)} heads written to {file}", markup=False)


def forensics(config: Path, incident_id: str, file: Path, *, hours: float, out: Console) -> None:
    """Write one archive with all that is stored of the incident."""
    install = Install.open(config)
    evidence, signer = _evidence(install, incident_id, hours=hours), install.signer()
    live = live_state(install, evidence.incident.key_id)
    told = about(evidence, live, made_at_ms=wall_ms(), version=version("keyfuse"))
    sign = (lambda data: (signer.public_key, signer.sign(data))) if signer else None
    data = pack(members(evidence, install.folder, live), told, sign)
    _write(file, data)
    by = f"signed by {signer.public_key}" if signer else f"not signed: {_NO_KEY}"
    span = f"{rfc3339(evidence.from_ms)[:16]} to {rfc3339(evidence.until_ms)[:16]}"
    counts = f"{len(evidence.findings):,} findings, {len(evidence.audit)} audit rows"
    out.print(
        f"{file}: {evidence.events:,} events of {evidence.incident.key_id} from {span}, {counts}; {by}", markup=False
    )
    for note in told["notes"][1:]:
        out.print(note, markup=False)


def forensics_verify(config: Path, file: Path, *, public_key: str, out: Console) -> int:
    """The exit code: 1 when a member or the manifest is not as it was packed."""
    trusted = _trusted(Install.open(config), public_key)
    try:
        found = verify(file.read_bytes(), lambda data, sig, key: is_signed(data, signature=sig, public_key=key))
    except ValueError as error:
        raise UserError(f"{file}: {error}") from error
    verdict, foreign = "CHANGED" if found.wrong else "intact", bool(trusted) and found.public_key not in trusted
    if foreign:
        named = " or ".join(sorted(trusted))
        out.print(f"it is signed by {found.public_key or 'nobody'}, not by {named}", markup=False)
        verdict = "CHANGED" if found.wrong else "NOT PROVEN"
    for words in found.wrong:
        out.print(words, markup=False)
    said = f"signed by {found.public_key}{'' if trusted else _UNKNOWN}" if found.public_key else "not signed"
    out.print(f"{file}: {verdict}: {found.members} members; {said}", markup=False)
    return 0 if verdict == "intact" else WRONG


def postmortem(config: Path, incident_id: str, file: str, *, hours: float, out: Console) -> None:
    """The draft to standard output or a file; a file that exists is kept, for somebody may have worked on it."""
    text = draft(_evidence(Install.open(config), incident_id, hours=hours))
    if file in ("", "-"):
        out.print(text, end="", markup=False)
        return
    if Path(file).exists():
        raise UserError(f"--out {file}: is there already, and may hold somebody's work; name another file")
    _write(Path(file), text.encode())
    out.print(f"{file}: written; the lines with TODO need a person", markup=False)


_NO_KEY: Final = "no key; name one in keyfuse.yaml under `evidence`"
_UNKNOWN: Final = " (whose key that is, --public-key would tell)"


def _of_store(install: Install, wanted: Wanted, *, whole: bool = False) -> AuditAnswer:
    from_ms, until_ms = wanted.bounds(wall_ms())
    asked = {"from_ms": from_ms, "until_ms": until_ms, "whole": whole or None}
    given = {name: value for name, value in asked.items() if value is not None}
    return AuditAnswer.model_validate(answer_of(install, "audit", given))


def _of_file(path: Path, wanted: Wanted) -> AuditAnswer:
    from_ms, until_ms = wanted.bounds(wall_ms())
    records = list(_read(path))
    heads = tuple(record for record in records if isinstance(record, Head))
    links = [record for record in records if isinstance(record, Link)]
    part = from_ms is not None or until_ms is not None
    kept = _within(links, from_ms or 0, until_ms or 1 << 53) if part else links
    return judged(iter(kept), heads, part=part)


def _read(path: Path) -> Iterator[Record]:
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            said = json.loads(line)
            yield Head.model_validate(said) if "type" in said else Link.model_validate(said)
        except (ValueError, TypeError, ValidationError) as error:
            where = f"{path}, line {number}"
            raise UserError(f"{where}: neither a row of the audit nor a head; was it changed by hand?") from error


def _within(links: Iterable[Link], from_ms: int, until_ms: int) -> Iterator[Link]:
    """Of each chain the rows from the first that is within to the last; one that cannot be read counts as within."""
    by_chain: dict[str, list[Link]] = {}
    for link in links:
        by_chain.setdefault(link.chain, []).append(link)
    for chain in by_chain.values():
        inside = [place for place, link in enumerate(chain) if from_ms <= _at_ms(link, from_ms) < until_ms]
        yield from chain[inside[0] : inside[-1] + 1] if inside else []


def _at_ms(link: Link, otherwise: int) -> int:
    try:
        return link.row.at_ms
    except ValidationError:
        return otherwise


def _unsigned_or_forged(heads: tuple[Head, ...], trusted: frozenset[str]) -> Iterator[str]:
    first_ms = min((head.at_ms for head in heads if head.signature), default=1 << 62)
    for head in heads:
        name = f"the head of {rfc3339(head.at_ms)} (row {head.seq} of {head.chain})"
        if head.signature and not is_signed(head.to_sign(), signature=head.signature, public_key=head.public_key):
            yield f"{name} is not what its signature signs: it was changed"
        elif head.signature and trusted and head.public_key not in trusted:
            yield f"{name} is signed by {head.public_key}, not by {' or '.join(sorted(trusted))}"
        elif not head.signature and head.at_ms > first_ms:
            yield f"{name} is not signed, though heads before it are"


def _signatures(heads: tuple[Head, ...], trusted: frozenset[str]) -> str:
    signed = sum(bool(head.signature) for head in heads)
    if not heads:
        return "no head yet: that rows are missing at the end would not show"
    if not signed:
        return f"the heads are not signed: who can write to the store could write them too ({_NO_KEY})"
    rest = f", {len(heads) - signed} unsigned" if signed < len(heads) else ""
    return f"{signed} signed{rest}{'' if trusted else _UNKNOWN}"


def _trusted(install: Install, public_key: str) -> frozenset[str]:
    """The named public key (a file, or its 64 digits), else this install's own, former ones too; empty without any."""
    if not public_key:
        signer: Signer | None = install.signer()
        own = [signer.public_key] if signer else []
        return frozenset([*own, *install.folder.wiring.evidence.former_public_keys])
    try:
        file = Path(public_key)
        return frozenset([public_key_of(file.read_text() if file.is_file() else public_key)])
    except ValueError as error:
        raise UserError(
            f"--public-key {public_key}: neither a PEM file with an Ed25519 key nor 64 hex digits"
        ) from error


def _evidence(install: Install, incident_id: str, *, hours: float) -> Evidence:
    asked = {"incident_id": incident_id, "before_ms": int(hours * 3_600_000)}
    answer: dict[str, Any] | None = answer_of(install, "evidence", asked)
    if answer is None:
        raise UserError(f"no incident {incident_id}; `keyfuse incidents` shows their ids")
    return Evidence.model_validate_json(json.dumps(answer))


def _write(path: Path, data: bytes) -> None:
    """For the owner alone: it tells of keys and people."""
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"--out {path}: {'a folder' if path.is_dir() else f'no folder {path.parent}'}")
    path.touch(mode=0o600)
    path.write_bytes(data)
