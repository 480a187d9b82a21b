"""From an alarm to a scenario: what a person marks and exports, a later backtest must keep right."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from pathlib import Path

import yaml
from rich.console import Console

from schemas.records import Incident
from service import mark_commands
from service.backtest_command import main as backtest
from service.history import Wanted
from service.mark_commands import Said
from tests.brokers import Broker
from tests.integration.test_shadow import QUIET, STRICT, Running, running
from tests.integration.uses import ndjson
from tests.integration.world import until


async def marked(world: Running, verdict: str, labels: Path) -> None:
    """Mark the newest incident of key_1, and export the marks."""
    said = Said("key_1", verdict, "so it was", "ann")
    await asyncio.to_thread(mark_commands.mark, world.folder, said, out=Console(file=io.StringIO()))
    await asyncio.to_thread(mark_commands.export, world.folder, str(labels), out=Console(file=io.StringIO()))


def compared(folder: Path, candidate: Mapping[str, object], history: Path, labels: Path) -> tuple[bool, str]:
    """Whether the candidate loses no label, and the page."""
    file, page = folder.parent / "candidate.yaml", io.StringIO()
    file.write_text(yaml.safe_dump(candidate), encoding="utf-8")
    out = Console(file=page, width=200)
    wanted = Wanted((str(history),), labels=str(labels))
    kept = backtest(file, wanted, folder, learn_hours=0, output=None, out=out, err=Console(file=io.StringIO()))
    return kept, page.getvalue()


async def test_a_marked_alarm_is_a_scenario_that_a_candidate_keeps_or_loses(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    thefts, alarms, history = (tmp_path / name for name in ("thefts.ndjson", "alarms.ndjson", "history.jsonl"))
    async with running(tansu_broker, prefix, tmp_path) as world:
        world.write("detectors.yaml", STRICT)
        await until(lambda: world.worker.install.folder.detectors.limits.usd_per_min == 0.005, "it is in force")
        await world.use()
        await until(lambda: world.told(Incident), "an incident")

        async def archived() -> bool:
            store = world.worker.store
            assert store is not None
            return bool(await asyncio.to_thread(store().incidents))

        await until(archived, "it is in the store")
        await marked(world, "true", thefts)
        await marked(world, "false-positive", alarms)
        folder = world.folder
        history.write_bytes(ndjson(world.events))

    kept, page = compared(folder, QUIET, history, thefts)
    assert not kept
    assert "labels kept right                        1 of 1       0 of 1" in page
    assert "lost  key_1  theft missed, 0.01 USD" in page
    kept, page = compared(folder, STRICT, history, thefts)
    assert kept
    assert "labels kept right                        1 of 1       1 of 1" in page
    assert "gets wrong" not in page
    kept, page = compared(folder, QUIET, history, alarms)
    assert kept
    assert "labelled false alarms told again         1 of 1       0 of 1" in page
