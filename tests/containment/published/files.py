"""The descriptions in this folder; where each is from: `README.md` beside them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Final, Literal

from tests.containment.published.description import Description

HERE: Final = Path(__file__).parent
Name = Literal["google", "kubernetes", "litellm", "openai"]


@functools.cache
def document(name: Name) -> dict[str, Any]:
    """As it stands in the file."""
    read: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return read


@functools.cache
def published(name: Name, *, prefix: str = "") -> Description:
    """`prefix`: where our local server has its paths."""
    return Description(document(name), prefix=prefix)
