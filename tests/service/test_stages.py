"""What the stages of a worker are told to do with their state."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from service.config_tree import Folder
from service.edges import Edges
from service.identity_stages import identity
from service.install import Install
from service.usage_stages import budget, score, uses
from streams.acks import Arrived
from streams.health import Health
from streams.kafka import EMBEDDED
from streams.metrics import Metrics
from tests.streams.world import MemoryOutbox


def _edges() -> Edges:
    nobody: Any = None  # no stage is started
    install = Install(Folder(), Path("nowhere"), environ={})
    return Edges(install, "nobody:1", nobody, MemoryOutbox(), Metrics(), Health(), EMBEDDED)


def test_stages_whose_state_follows_from_what_they_read_claim_it() -> None:
    edges = _edges()
    apps = [score(edges)[0], uses(edges)[0], budget(edges)[0], identity(edges)[0]]
    assert {app.name: app.claims for app in apps} == {
        "keyfuse-score": True, "keyfuse-uses": True, "keyfuse-budget": True, "keyfuse-identity": False,
    }  # fmt: skip


async def test_between_frames_that_are_there_others_get_a_turn() -> None:
    app, _ = score(_edges())
    turns = list[int]()
    asyncio.get_running_loop().call_soon(lambda: turns.append(1))
    await app.handle(Arrived("frames", 0, 0, b"no frame", lambda: None))
    assert turns
