"""Hot reload: what is valid is taken, what is not changes nothing and is told once."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.config_tree import Folder
from service.install import Install
from service.reload import follow_folder
from streams.metrics import Metrics


class Following:
    """An install that is followed one look at a time."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "detectors.yaml"
        self.install, self.metrics, self.taken = Install.open(directory), Metrics(), list[Folder]()

    async def look(self, text: str = "") -> list[str]:
        """Write the file, look once; returns what was logged."""
        if text:
            self.file.write_text(text, encoding="utf-8")
        with capture_logs() as logged:
            await follow_folder(self.install, self.metrics, changed=self.taken.append, stopping=lambda: True)
        return [f"{entry['event']} {entry.get('errors', '')}".strip() for entry in logged]

    @property
    def limit(self) -> float | None:
        return self.install.folder.detectors.limits.usd_per_min


@pytest.fixture
def following(tmp_path: Path) -> Following:
    (tmp_path / "detectors.yaml").write_text("limits: {usd_per_min: 3}\n", encoding="utf-8")
    return Following(tmp_path)


async def test_new_thresholds_are_taken_without_a_restart(following: Following) -> None:
    assert (await following.look(), following.taken, following.limit) == ([], [], 3)

    assert await following.look("limits: {usd_per_min: 12}\n") == ["configuration reloaded"]

    assert following.limit == 12
    assert following.taken == [following.install.folder]


async def test_a_change_made_while_the_worker_started_is_seen_at_the_first_look(following: Following) -> None:
    await following.look("limits: {usd_per_min: 12}\n")

    assert following.limit == 12


@pytest.mark.parametrize("text", ["limits: {usd_per_min: [", "limits: {usd_per_min: -1}\n", "velocty: {}\n", "- a\n"])
async def test_what_is_wrong_leaves_the_old_in_force_is_told_once_and_mended(following: Following, text: str) -> None:
    [told] = await following.look(text)

    assert told.startswith("configuration not taken; the one before stays in force")
    assert "detectors.yaml:" in told
    assert (following.limit, following.taken) == (3, [])
    assert b"keyfuse_config_errors_total 1.0" in following.metrics.render()
    assert await following.look(text + "# still wrong\n") == []
    assert await following.look("limits: {usd_per_min: 4}\n") == ["configuration reloaded"]
    assert following.limit == 4


async def test_wiring_is_told_to_need_a_restart(following: Following) -> None:
    (following.file.parent / "keyfuse.yaml").write_text("data_dir: elsewhere\n", encoding="utf-8")

    assert "keyfuse.yaml and channels take effect at the next start" in await following.look()


async def test_settings_that_come_from_no_folder_are_not_followed(tmp_path: Path) -> None:
    following = Following(tmp_path)
    following.install = Install(Folder(), tmp_path)

    assert await following.look("limits: {usd_per_min: 12}\n") == []
    assert following.limit == 20
