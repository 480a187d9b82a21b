"""`responses.yaml`: the ladder, the modes, and the limits that protect us from ourselves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.config.base import Config
from schemas.records import Mode

Share = Annotated[float, Field(gt=0, le=1)]


class CapsConfig(Config):
    """How many keys automatic steps may touch. Defaults after the safety notes; people are not capped."""

    per_10min_keys: Annotated[int, Field(ge=1)] = 5
    """At most this many keys in ten minutes ..."""
    per_10min_share: Share = 0.02
    """... or this share of the known keys, whichever is larger."""
    per_day_share: Share = 0.10
    """At most this share of the known keys in a day (but always per_10min_keys)."""
    freeze_share: Share = 0.20
    """More than this share of the active keys flagged in ten minutes: the detector is suspect. Freeze and page."""
    freeze_min_keys: Annotated[int, Field(ge=1)] = 3
    """... and at least this many."""
    cooldown_s: Annotated[float, Field(ge=0)] = 300
    """After a step failed for good, the same key is left alone this long."""


class RetryConfig(Config):
    """Calls to a provider: bounded, with backoff; then the command is irrevocable and a person is paged."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 6
    """Tries in all."""
    wait_initial_s: Annotated[float, Field(gt=0)] = 0.5
    """First pause; doubles each time, with jitter."""
    wait_max_s: Annotated[float, Field(gt=0)] = 30
    """Longest pause."""
    timeout_s: Annotated[float, Field(gt=0)] = 10
    """For one call."""
    verify_s: Annotated[float, Field(gt=0)] = 60
    """How long the provider may take until it really refuses the key."""


class LadderConfig(Config):
    """What must be true for an automatic step."""

    families_for_cut: Annotated[int, Field(ge=1, le=10)] = 2
    """Kinds of evidence (volume, price, place, errors, content, a leak report) that must agree to cut without a person;
    a certain limit is enough."""
    cut_score: Annotated[float, Field(ge=0)] = 5.5
    """Score that each of them must reach. 5.5 is once in 300 weeks of a healthy key, 1 more is ten times rarer. A leak
    report has no score: it counts unless its reporter's confidence is low."""
    wrong_cut_usd: Annotated[float, Field(ge=0)] = 10
    """What cutting a healthy key costs, in USD: while less is at stake until a person answers, nothing is cut."""
    person_answers_min: Annotated[float, Field(gt=0)] = 30
    """How long it takes until a person who was told has acted, in minutes."""
    leak_is_certain: bool = False
    """True: a verified leak report (signed by GitHub, or told with a trusted token) is enough by itself for a step that
    can be undone, like a broken limit. Caps, freeze and protected keys hold as ever."""
    first_step: Literal["throttle", "block", "disable"] = "disable"
    """The softest step tried where the provider has it."""
    wider_steps: bool = False
    """True: what stops more than the one key (its project, its account) may be chosen without a person too. Without
    this only a person orders it, by name."""
    escalate_after_s: Annotated[float, Field(gt=0)] = 120
    """Still spending this long after a soft step: the next rung."""


class ApprovalsConfig(Config):
    """What waits for people."""

    expire_after_s: Annotated[float, Field(ge=60, le=604_800)] = 3600
    """A step that is not approved for this long is no longer asked for; what one person said of it is forgotten."""


IfSwitchFails = Literal["cut", "wait"]


class BackupConfig(Config):
    """The switch to a key's backup before it is cut."""

    if_switch_fails: IfSwitchFails = "cut"
    """cut: the key is cut all the same and people are paged, so that a broken secret store protects no thief; wait:
    what was switched is switched back, the key is not cut, and people are paged. What a person orders is cut always."""
    if_switch_fails_in: dict[str, IfSwitchFails] = Field(default_factory=dict)
    """By environment; stronger than `if_switch_fails`."""
    patience_s: Annotated[float, Field(gt=0, le=600)] = 30
    """How long the cut waits for the switch at most. The thief goes on meanwhile."""
    head_start_s: Annotated[float, Field(ge=0, le=600)] = 0
    """So long after its users were told the key is still served: what they need to read their credential again. The
    thief goes on meanwhile; gates refuse the key at once."""
    settle_h: Annotated[float, Field(ge=0, le=168)] = 24
    """So long more use than usual is expected of the backup: it takes over what the key did. 0: not at all; then it may
    look stolen itself."""

    def fails_in(self, env: str) -> IfSwitchFails:
        return self.if_switch_fails_in.get(env, self.if_switch_fails)


class ResponsesConfig(Config):
    """`responses.yaml`."""

    mode: Mode = "observe"
    """observe: say what would be done; approve: a person decides; auto: up to disable, reversibly."""
    modes: dict[str, Mode] = Field(default_factory=dict)
    """By environment; stronger than `mode`."""
    key_modes: dict[str, Mode] = Field(default_factory=dict)
    """By key_id; stronger than the environment. It holds for what takes over from the key in a rotation, too."""
    protected_keys: tuple[str, ...] = ()
    """key_ids never touched automatically, and what takes over from one of them in a rotation."""
    freeze_file: str = ".keyfuse/FREEZE"
    """While this file exists no automatic step runs; read before every call."""
    ladder: LadderConfig = LadderConfig()
    approvals: ApprovalsConfig = ApprovalsConfig()
    caps: CapsConfig = CapsConfig()
    retry: RetryConfig = RetryConfig()
    backup: BackupConfig = BackupConfig()
    reopen_after_s: Annotated[float, Field(ge=0)] = 900
    """Refractory time: a finding this soon after closing does not open a new incident unless it is critical."""
    resolve_after_s: Annotated[float, Field(gt=0)] = 1800
    """Silence after which an incident resolves itself."""

    def mode_of(self, key_id: str, env: str) -> Mode:
        return self.key_modes.get(key_id) or self.modes.get(env) or self.mode
