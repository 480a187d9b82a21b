"""What docs/slack.md tells people to copy works."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

from schemas.config import PeopleConfig, RoutesConfig

PAGE = (Path(__file__).parents[2] / "docs" / "slack.md").read_text(encoding="utf-8")


def examples() -> list[Any]:
    return [yaml.safe_load(textwrap.dedent(block)) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def test_the_manifest_asks_for_what_is_used_and_no_more() -> None:
    manifest = examples()[0]
    assert manifest["oauth_config"]["scopes"] == {"bot": ["chat:write", "files:write", "commands"]}
    assert manifest["settings"]["socket_mode_enabled"]
    assert manifest["settings"]["interactivity"] == {"is_enabled": True}
    (command,) = manifest["features"]["slash_commands"]
    assert (command["command"], command["should_escape"]) == ("/keyfuse", False)
    assert len(manifest["display_information"]["description"]) <= 140


def test_the_settings_load_and_make_buttons() -> None:
    _, routes, people = examples()
    (channel,) = RoutesConfig.model_validate(routes).channels.values()
    assert channel.slack.way == "socket"
    assert PeopleConfig.model_validate(people).people["anna"].slack == "U024BE7LH"
