"""How keys are stolen and abused, what is there against each, and the test that proves it. Pure; a closed list.

Stories and figures: docs/threat-model.md, which is made from this list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from controls.posture import Control, Posture


class Threat(NamedTuple):
    """One way to lose money, or to make Keyfuse do harm."""

    name: str
    title: str
    story: str  # what happens, and what it cost others
    found_by: str  # detection, in words
    limits: tuple[Control, ...]  # controls of a key that bound it; empty: not a matter of one key's settings
    answer: str  # what Keyfuse does about it
    proofs: tuple[str, ...]  # tests, "file::name"


THREATS: Final[tuple[Threat, ...]] = (
    Threat(
        "leaked", "A key lies open: repository, paste, notebook, log",
        "Somebody uses it seventeen minutes later on average; nine in ten are still valid after five days.",
        "leak reports (GitHub, scanners, people) as evidence of their own",
        ("expiry", "rotation", "cut"), "an incident; cut for good once two kinds of evidence agree or people say so",
        ("tests/integration/test_leaks.py", "tests/containment/test_ladder_leaks.py"),
    ),
    Threat(
        "burst", "A thief spends as fast as the account allows",
        "Up to 80,000 USD within hours on a key that costs 180 a month.",
        "velocity, certain limits", ("limits", "cut", "cut_by_itself", "rate", "hard_budget"),
        "cut within seconds and verified; the gate refuses at once",
        ("tests/scenarios/test_detectors.py", "tests/integration/test_newcomers_way.py"),
    ),
    Threat(
        "resold", "A reverse proxy resells the key to many",
        "Many addresses and clients, day and night, the dearest models.",
        "origin, rhythm, mix", ("places", "models", "limits", "cut_by_itself"), "cut; the evidence names the networks",
        ("tests/scenarios/test_detectors.py",),
    ),
    Threat(
        "probing", "Somebody tries out what a key can do before using it",
        "Small invalid calls, lists of models, then a ramp in ten minutes.",
        "errors (refused calls, endpoints never used)", ("models", "places"), "told before the ramp begins",
        ("tests/detectors/test_errors.py",),
    ),
    Threat(
        "slow", "Low and slow, below every alarm",
        "Twenty per cent more each day; a month later ten times the bill.",
        "drift, budgets", ("day_limit", "hard_budget", "revalidation"), "budgets end it whatever was learned",
        ("tests/detectors/test_budget.py", "tests/controls/test_budgets.py"),
    ),
    Threat(
        "poisoning", "The thief teaches Keyfuse that the theft is normal",
        "A quiet ramp moves the baseline along.",
        "a frozen baseline beside the moving one; what alarms is not learned from", ("day_limit", "limits"),
        "certain limits learn nothing", ("tests/detectors/test_contract.py", "tests/detectors/test_exactness.py"),
    ),
    Threat(
        "dear_models", "The same calls with a model thirty times as dear",
        "Requests and tokens stay as they were.",
        "mix, economics", ("models", "hard_budget"), "the policy names the model; the gate refuses it",
        ("tests/controls/test_policies.py", "tests/scenarios/test_detectors.py"),
    ),
    Threat(
        "stuffing", "The same number of calls, each with a prompt fifty times as long",
        "Requests stay flat, input tokens do not.",
        "economics, velocity in tokens", ("length", "rate", "hard_budget"), "ceilings on tokens",
        ("tests/detectors/test_economics.py", "tests/controls/test_policies.py"),
    ),
    Threat(
        "dormant", "A forgotten key wakes up",
        "Nobody looks at its bill, and nobody remembers whose it is.",
        "rhythm (dormancy)", ("owner", "expiry", "revalidation"), "keys end by themselves, owners are asked",
        ("tests/detectors/test_rhythm.py", "tests/controls/test_revalidation.py"),
    ),
    Threat(
        "around", "A provider's own key is used past the gateway",
        "The gateway sees nothing; its refusals do not matter.",
        "usage that the provider reports, where it is sent to Keyfuse as events", ("cut", "places"),
        "the cut is made at the provider and read back there; a gate's refusal never counts as one",
        ("tests/containment/test_providers.py", "tests/containment/test_probed.py"),
    ),
    Threat(
        "many_keys", "One actor with many keys, each a little",
        "Keys of one team or one machine, each below its limits.",
        "cohort, origin; budgets of teams", ("hard_budget", "owner"), "the team's budget holds over all of its keys",
        ("tests/controls/test_budgets.py", "tests/scenarios/test_detectors.py"),
    ),
    Threat(
        "runaway", "No thief at all: an agent in a loop",
        "The owner's own program, hosts and models, doing the same again and again.",
        "repetition, velocity", ("rate", "hard_budget", "limits"), "throttled, degraded or stopped by its budget",
        ("tests/detectors/test_repetition.py",),
    ),
    Threat(
        "race", "Many calls at once pass a ceiling that each of them keeps",
        "Check, then count: what is under way is not counted, so the overshoot grows with the concurrency.",
        "not needed", ("gate", "hard_budget"), "the gate reserves before the call; replicas share a budget by leases",
        ("tests/gate/test_interleavings.py", "tests/gate/test_lease_histories.py"),
    ),
    Threat(
        "insider", "Somebody gives themselves a key, a budget or an exception",
        "What is granted by a click is seldom taken back.",
        "every change has who, when and why", ("owner", "purpose", "expiry"),
        "a second person approves; everything ends; roles decide whose word counts",
        ("tests/controls/test_people.py", "tests/integration/test_exceptions.py"),
    ),
    Threat(
        "orphan", "The owner has left",
        "The key goes on without anybody who would notice.",
        "revalidation, overdue rotations", ("owner", "revalidation", "rotation"),
        "keys are transferred when people leave, and rotated",
        ("tests/controls/test_rotation.py", "tests/integration/test_key_life.py"),
    ),
    Threat(
        "forged_events", "Forged events shall make Keyfuse switch the company off",
        "A million made-up events over a thousand keys.",
        "caps and the freeze", (), "a capped number of keys is cut, then everything is frozen and one page goes out",
        ("tests/streams/test_forged_events.py", "tests/containment/test_limits.py"),
    ),
    Threat(
        "framing", "One healthy key is framed",
        "An enemy, or a bug, makes one key look stolen.",
        "two kinds of evidence are needed", ("backup",), "protected keys, reversible steps first, one command undoes",
        ("tests/containment/test_ladder.py", "tests/streams/test_around_cut.py"),
    ),
    Threat(
        "forged_words", "Forged answers in chat, forged orders on a topic",
        "Who can write to a channel or a topic could cut keys.",
        "signatures and roles", (), "unsigned, altered, stale and repeated words change nothing",
        ("tests/alerting/test_slack_signed.py", "tests/containment/test_orders.py"),
    ),
    Threat(
        "admin_keys", "Keyfuse's own admin keys are stolen",
        "Whoever has them can switch off every key.",
        "none; keep them apart", (), "the contain worker alone holds them, listens to nobody, believes signed orders",
        ("tests/service/test_worker_roles.py", "tests/service/test_vault_secrets.py"),
    ),
    Threat(
        "secrets_told", "Secrets leave with logs, alerts or dead letters",
        "A key in a log is a leaked key.",
        "not needed", (), "fingerprints alone travel; secrets are dropped at the edge",
        ("tests/scenarios/test_secrets_nowhere.py", "tests/schemas/test_redact.py"),
    ),
    Threat(
        "tampering", "The record of what happened is changed afterwards",
        "Evidence that can be edited is none.",
        "`keyfuse audit verify`", (), "a chain of hashes with signed heads, kept elsewhere too",
        ("tests/storage/test_audit.py", "tests/schemas/test_audit_chain.py"),
    ),
)  # fmt: skip


class Open(NamedTuple):
    """One threat to some keys: which of them have nothing against it."""

    threat: Threat
    bare: tuple[Posture, ...]  # no control of it holds, the dearest first
    held: tuple[tuple[Control, int], ...]  # how many keys have which control

    @property
    def day_usd(self) -> float:
        """The worst day of the bare keys together."""
        return sum(each.radius.day_usd for each in self.bare)


def open_threats(postures: Sequence[Posture]) -> tuple[Open, ...]:
    """Every threat that is a matter of a key's settings, the dearest hole first."""
    found = [_open(threat, postures) for threat in THREATS if threat.limits]
    return tuple(sorted(found, key=lambda each: (-each.day_usd, each.threat.name)))


def _open(threat: Threat, postures: Iterable[Posture]) -> Open:
    known = list(postures)
    bare = [each for each in known if not any(each.prevents(control) for control in threat.limits)]
    held = [(control, sum(each.prevents(control) for each in known)) for control in threat.limits]
    return Open(threat, tuple(sorted(bare, key=lambda each: -each.radius.day_usd)), tuple(held))
