"""Somebody's own program: a shell script that keeps its keys as files beside itself."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

from tests.containment.servers.serve import Misbehave

_SCRIPT = """#!/bin/sh
cd "${0%/*}" || exit 70
read -r message
has() { case $message in *"\\"$1\\": \\"$2\\""*) return 0 ;; esac; return 1; }
say() { printf '%s\\n' "$1"; exit 0; }
fail() { printf '{"error": "%s"}\\n' "$1"; exit 1; }
state() {
    if [ -e "$step" ] || [ -e revoke ]; then say '{"state": "applied"}'; fi
    say '{"state": "not_applied"}'
}
act() {
    read -r secret < secret
    [ "$KEYFUSE_SECRET" = "$secret" ] || fail bad_credentials
    has ref k-1 || fail unknown_key
    step=disable; has step revoke && step=revoke
    if has action snapshot; then
        if [ -e disable ]; then say '{"pre_state": {"disable": "yes"}}'; else say '{"pre_state": {}}'; fi
    fi
    has action apply && : > "$step"
    has action undo && ! has disable yes && rm -f disable
    state
}
change=any
if has action apply || has action undo; then change=change; echo . >> changes; fi
for fault in fault-*; do
    [ -e "$fault" ] && [ ! -e "done.$fault" ] || continue
    . "./$fault"
    [ "$on" = any ] || [ "$on" = "$change" ] || break
    : > "done.$fault"
    [ -z "$after" ] || (act) > /dev/null
    [ -z "$hang" ] || exec sleep 60
    cat "body.$fault"
    exit "$code"
done
act
"""
_ERRORS = {400: "rejected", 401: "bad_credentials", 403: "forbidden", 404: "unknown_key", 422: "rejected",
           429: "rate_limited", 500: "unavailable"}  # fmt: skip


@dataclass
class Program:
    folder: Path
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def path(self) -> Path:
        return self.folder / "program"

    def changes(self) -> int:
        file = self.folder / "changes"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def fault(self, wanted: Misbehave) -> None:
        """What a status is to a server, an error with a code of its own is to a program."""
        name = f"fault-{next(self.numbers):04}"
        on, good = "change" if wanted.changes_only else "any", wanted.status < 300
        flags = f"on={on} after={'1' if wanted.after else ''} hang={'1' if wanted.hang else ''}"
        answer = {"error": _ERRORS.get(wanted.status, ""), "words": wanted.body.decode()}
        wait_s = wanted.headers.get("retry-after")
        answer |= {"retry_after_s": float(wait_s)} if wait_s else {}  # type: ignore[dict-item]
        (self.folder / f"body.{name}").write_bytes(wanted.body if good else json.dumps(answer).encode())
        (self.folder / name).write_text(f"{flags} code={0 if good else 1}\n")


def write(folder: Path, *, secret: str) -> Program:
    program = Program(folder)
    program.path.write_text(_SCRIPT)
    program.path.chmod(0o700)
    (folder / "secret").write_text(secret + "\n")
    return program
