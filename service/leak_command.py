"""`keyfuse leak`: a person has found a key. The same as a report over HTTP, from the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from getpass import getpass
from pathlib import Path
from typing import Final

import orjson
from rich.console import Console

from schemas.records import KeyFacts
from schemas.redact import looks_secret
from service.errors import UserError
from service.install import Install
from service.leaks import desk_of, records_of
from service.query_commands import ask
from service.request_commands import LOOK_BACK_H, person, send
from sources.leaks import Standing

SECRET: Final = "-"  # noqa: S105 - the word that says that the secret comes from standard input
_WORDS: Final[dict[Standing, str]] = {
    "registered": "it is in keys.yaml", "in_use": "it is in use",
    "unsure": "nobody can say whether it is in use, so it is taken for ours",
}  # fmt: skip


def read_secret() -> str:
    """From whoever types it, unseen, or from a pipe. Arguments are seen by everybody on the machine."""
    return getpass("the secret (not shown): ") if sys.stdin.isatty() else sys.stdin.readline()


def leak(
    config: Path,
    key_id: str,
    *,
    place: tuple[str, str],
    confidence: str,
    by: str,
    read: Callable[[], str],
    out: Console,
) -> None:
    """Report that a key was found; `place` is source and url, `key_id` SECRET reads the secret itself."""
    if key_id != SECRET and looks_secret(key_id):
        raise UserError(
            f"this looks like the secret itself: `keyfuse leak {SECRET}` asks for it, so that nobody sees it"
        )
    install, who = Install.open(config), person(by)
    named = {"key": read()} if key_id == SECRET else {"key_id": key_id}
    doc = named | {"source": place[0], "url": place[1], "by": who, "confidence": confidence}
    taken = desk_of(install, lambda names: _used(config, names)).take(orjson.dumps(doc), via="person", trusted=False)
    if isinstance(taken, list):
        raise UserError(f"{taken[0].field or 'the report'}: {taken[0].detail}")
    for topic, records in records_of(taken):
        send(install, topic, *records)
    [answer] = taken.answers
    name = answer["key_id"]
    if answer["known"] == "unknown":
        out.print(f"noted for {name}: neither in keys.yaml nor in use, so no incident is opened", markup=False)
        return
    out.print(
        f"reported {name} as leaked: {_WORDS[answer['known']]}; `keyfuse incidents` shows what became of it, "
        f"`keyfuse contain {name}` cuts it now",
        markup=False,
    )


def _used(config: Path, names: Sequence[str]) -> dict[str, KeyFacts] | None:
    try:
        uses = ask(config, "keys", {"hours": LOOK_BACK_H, "limit": 1_000_000})
    except UserError:
        return None
    fields = ("provider", "team", "app", "env")
    return {
        use["key_id"]: KeyFacts.model_validate({name: use[name] for name in fields})
        for use in uses if use["key_id"] in names
    }  # fmt: skip
