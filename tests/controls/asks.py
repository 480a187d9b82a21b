"""Wishes for keys as tests make them."""

from __future__ import annotations

from typing import Any, Final

from schemas.key_ask import KeyAsk, KeyWish

T0: Final = 1_795_428_000_000
SEAL_TO: Final = "ab" * 32
WISH: Final = {"team": "search", "app": "ranker", "env": "dev", "purpose": "try new prompts"}


def fingerprint(number: int) -> str:
    return f"fp1:{number:032x}"


def ask(number: int = 1, *, by: str = "ann", **wish: Any) -> KeyAsk:
    fields = {**WISH, **wish}
    virtual = fields.get("kind", "virtual") == "virtual"
    return KeyAsk(
        request_id=f"r{number}", at_ms=T0, by=by, key_id=fingerprint(number) if virtual else "",
        last4="a1b2" if virtual else "", seal_to="" if virtual else SEAL_TO, wish=KeyWish(**fields),
    )  # fmt: skip
