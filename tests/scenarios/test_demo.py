"""The first command of the README, as somebody new runs it: in an empty folder, without a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_demo_contains_a_theft_reports_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "keyfuse"), "demo", "--seed", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    for told in (
        "a production key is stolen",
        "finding",
        "disable",
        "a call with the key was answered 401",
        "the bill:",
    ):
        assert told in done.stdout
    report = (tmp_path / ".keyfuse" / "demo-report.md").read_text()
    assert "seconds to containment" in report.lower()
    assert _programs_in(tmp_path) == []


def _programs_in(directory: Path) -> list[str]:
    """Processes that were started there and still run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == directory:
                found.append((entry / "cmdline").read_text())
        except OSError:  # gone meanwhile, or somebody else's
            continue
    return found
