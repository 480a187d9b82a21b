from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.folder import FolderWith


@pytest.fixture
def folder_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderWith:
    """The test runs in a directory of its own."""
    monkeypatch.chdir(tmp_path)

    def made(**files: str) -> Path:
        folder = tmp_path / "keyfuse.d"
        folder.mkdir()
        for name, text in files.items():
            (folder / f"{name}.yaml").write_text(text)
        return folder

    return made
