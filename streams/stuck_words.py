"""What people are told when a stage lives, does nothing, and beginning it anew does not help. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.records import Incident, stable_id
from streams.contain_words import INSTALL, page

_DAY_MS: Final = 86_400_000
_MEANS: Final[Mapping[str, str]] = {
    "ingest": "new use is not looked at",
    "score": "thefts are not found",
    "uses": "budgets do not count what is spent",
    "decide": "findings come to nothing: no incident, no cut",
    "identity-outcomes": "an old key does not end when its cut is confirmed",
    "archive": "use is not stored; it waits in usage.frames for as long as that is kept",
}


def stuck_page(stage: str, where: str, why: str, *, ends: bool, now_ms: int) -> Incident:
    """A critical incident of Keyfuse itself. The same place within a day is the same: a worker that comes to the same
    end each time it is started calls people once.

    >>> stuck_page("score", "usage.frames-0 stands at 5", "usage.frames-0 stands at 5 for 300 s, 4 records behind",
    ...            ends=True, now_ms=0).headline
    'stage score stands still: usage.frames-0 stands at 5 for 300 s, 4 records behind. Until it moves, of that \
partition thefts are not found. It was begun anew twice in vain, so its worker now ends with exit code 4 for its \
supervisor to start again. Look whether it did, and whether the lag of keyfuse-score falls; if not, its log says why, \
and the record at that place may be what stops it: keep it and report it'
    """
    means = _MEANS.get(stage, "its work is not done")
    does = "so its worker now ends with exit code 4 for its supervisor to start again. Look whether it did, and whether"
    if not ends:
        does = "and is begun anew again and again, for the embedded broker would end with it. Look whether"
    told = page(
        f"stage {stage} stands still: {why}. Until it moves, of that partition {means}. It was begun anew twice in "
        f"vain, {does} the lag of keyfuse-{stage} falls; if not, its log says why, and the record at that place may be "
        "what stops it: keep it and report it",
        now_ms=now_ms,
    )
    same = stable_id("inc", INSTALL, "stuck", stage, where, now_ms // _DAY_MS)
    return told.model_copy(update={"incident_id": same})
