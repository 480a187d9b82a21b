"""An adapter's settings, from the environment. Needs nothing of Keyfuse, so that it fits into any gateway's process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_FAIL: Final = ("open", "closed")


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the gate and the intake are, and what holds when the gate does not answer."""

    gate_url: str
    gate_token: str = field(default="", repr=False)
    intake_url: str = ""  # empty: no usage events are sent
    intake_token: str = field(default="", repr=False)
    fail: str = "open"  # open: calls pass while the gate does not answer; closed: they are refused
    timeout_s: float = 0.25  # of a question: a call waits no longer than this
    tell_timeout_s: float = 5.0  # of what is told after a call
    kept: int = 50_000  # settlements and events, each, that wait at most
    gather_s: float = 0.5  # events are gathered so long before they are sent
    provider: str = "openai"  # of usage events, where the adapter cannot see it (ASGI, httpx)

    def __post_init__(self) -> None:
        """ValueError, with all that is wrong."""
        wrong = [
            f"{name} must begin with http:// or https://, not {value!r}"
            for name, value in (
                ("KEYFUSE_GATE_URL", self.gate_url),
                ("KEYFUSE_INTAKE_URL", self.intake_url or "http://"),
            )
            if not value.startswith(("http://", "https://"))
        ]
        if self.fail not in _FAIL:
            wrong.append(f"KEYFUSE_GATE_FAIL must be open or closed, not {self.fail!r}")
        if self.timeout_s <= 0:
            wrong.append(f"KEYFUSE_GATE_TIMEOUT_S must be above 0, not {self.timeout_s}")
        if wrong:
            raise ValueError("; ".join(wrong))


def settings_from(env: Mapping[str, str]) -> Settings:
    """From environment variables; ValueError names each that is wrong.

    >>> settings_from({"KEYFUSE_GATE_URL": "http://127.0.0.1:8322/", "KEYFUSE_GATE_FAIL": "closed"}).fail
    'closed'
    """
    try:
        timeout_s = float(env.get("KEYFUSE_GATE_TIMEOUT_S", "0.25"))
    except ValueError:
        timeout_s = -1.0
    return Settings(
        gate_url=env.get("KEYFUSE_GATE_URL", "").rstrip("/"),
        gate_token=env.get("KEYFUSE_GATE_TOKEN", ""),
        intake_url=env.get("KEYFUSE_INTAKE_URL", "").rstrip("/"),
        intake_token=env.get("KEYFUSE_INTAKE_TOKEN", ""),
        fail=env.get("KEYFUSE_GATE_FAIL", "open"),
        timeout_s=timeout_s,
        provider=env.get("KEYFUSE_PROVIDER", "openai"),
    )
