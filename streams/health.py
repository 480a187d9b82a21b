"""Is a stage making progress? A process that lives but no longer commits is not healthy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

STUCK_AFTER_S: Final = 60.0


@dataclass
class StageProgress:
    """What one stage last did. Times are of a monotonic clock, in seconds."""

    stage: str
    started_s: float
    lag_records: int = 0
    last_commit_s: float | None = None
    failed: str = ""  # why the stage stopped, empty while it runs
    waiting: str = ""  # for whom, while it holds its work back

    def committed(self, now_s: float) -> None:
        self.last_commit_s = now_s

    def commit_age_s(self, now_s: float) -> float:
        return now_s - (self.started_s if self.last_commit_s is None else self.last_commit_s)

    def problem(self, now_s: float) -> str:
        """Empty when healthy; idle stages have no lag and are healthy whatever the age of their last commit.

        >>> StageProgress("score", started_s=0).problem(now_s=1000)
        ''
        >>> StageProgress("score", started_s=0, lag_records=7).problem(now_s=1000)
        'score: 7 records behind and no commit for 1000 s'
        """
        if self.failed:
            return f"{self.stage}: stopped: {self.failed}"
        age_s = self.commit_age_s(now_s)
        if self.lag_records > 0 and age_s > STUCK_AFTER_S:
            return f"{self.stage}: {self.lag_records} records behind and no commit for {age_s:.0f} s"
        return ""


@dataclass
class Health:
    """All stages of one worker."""

    stages: dict[str, StageProgress] = field(default_factory=dict)
    ready: bool = False

    def stage(self, name: str, now_s: float) -> StageProgress:
        return self.stages.setdefault(name, StageProgress(name, now_s))

    def report(self, now_s: float) -> tuple[bool, dict[str, Any]]:
        """(healthy, what `/healthz` shows)."""
        problems = [problem for stage in self.stages.values() if (problem := stage.problem(now_s))]
        stages = {
            name: {
                "lag_records": stage.lag_records,
                "last_commit_age_s": round(stage.commit_age_s(now_s), 1),
                "problem": stage.problem(now_s),
                "waiting": stage.waiting,
            }
            for name, stage in self.stages.items()
        }
        return not problems, {"healthy": not problems, "problems": problems, "stages": stages}
