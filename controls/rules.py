"""The rules that hold for one key, each with where it was written, and whether a call breaks one. Pure.

All rules hold at once: a call must pass each of them, and of two ceilings the lower one counts. Nothing but an
exception lifts a rule, and only the rule that it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal, NamedTuple

from controls.hours import hours_words, is_open
from controls.networks import EVERYWHERE, Span, both, spans, within
from schemas.call import Call
from schemas.config.policies import HoursConfig, PolicyConfig
from schemas.exception import PolicyException, RuleKind
from schemas.key_record import KeyRecord

Unseen = Literal["refuse", "pass"]
Families = Mapping[str, Sequence[str]]
Value = tuple[str, ...] | float | HoursConfig

OF_POLICY: Final[tuple[tuple[str, RuleKind], ...]] = (
    ("allowed_models", "models"), ("denied_models", "models"), ("allowed_endpoints", "endpoints"),
    ("max_input_tokens", "max_input_tokens"), ("max_output_tokens", "max_output_tokens"), ("networks", "networks"),
    ("countries", "countries"), ("hours", "hours"), ("requests_per_s", "requests_per_s"),
    ("requests_per_min", "requests_per_min"), ("requests_per_day", "requests_per_day"),
    ("tokens_per_s", "tokens_per_s"), ("tokens_per_min", "tokens_per_min"), ("tokens_per_day", "tokens_per_day"),
)  # fmt: skip
"""The rules of a policy, in the order in which a call is told of them."""
OF_KEY: Final[tuple[tuple[str, RuleKind], ...]] = (
    ("networks", "networks"), ("countries", "countries"), ("origins", "origins"),
    ("quota_requests_per_min", "requests_per_min"), ("quota_usd_per_day", "usd_per_day"),
)  # fmt: skip
"""The rules that stand in a key's own entry; they are told of after those of policies."""
Unit = Literal["requests", "tokens", "nano_usd"]
CEILINGS: Final[Mapping[RuleKind, tuple[Unit, int]]] = {
    "requests_per_s": ("requests", 1), "requests_per_min": ("requests", 60), "requests_per_day": ("requests", 86_400),
    "tokens_per_s": ("tokens", 1), "tokens_per_min": ("tokens", 60), "tokens_per_day": ("tokens", 86_400),
    "usd_per_day": ("nano_usd", 86_400),
}  # fmt: skip
"""What a rule counts, and within how many seconds."""
_FIELD: Final = Call._fields.index
SEEN_IN: Final[Mapping[str, int]] = {
    "models": _FIELD("model"), "endpoints": _FIELD("endpoint"), "networks": _FIELD("ip"),
    "countries": _FIELD("country"), "origins": _FIELD("origin"),
}  # fmt: skip
"""Where a call says what a list is about."""
_REMEMBERED: Final = 256  # texts of one list


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as somebody wrote it."""

    name: str  # of the setting: "allowed_models"
    kind: RuleKind
    value: Value
    policy: str = ""  # empty: it stands in the key's own entry
    number: int = -1  # of the policy in policies.yaml, from 0
    lifted: tuple[PolicyException, ...] = ()  # the exceptions that hold now

    @property
    def source(self) -> str:
        return f"policy {self.policy}" if self.number >= 0 else "key"

    @property
    def owner(self) -> str:
        """Whose rule it is, in a sentence."""
        return self.source if self.number >= 0 else "the key's own entry"

    @property
    def label(self) -> str:
        """As findings, refusals and `keyfuse policy explain` name it.

        >>> Rule("allowed_models", "models", ("gpt-4.1*",), "development is cheap", 0).label
        'policy development is cheap: allowed_models'
        """
        return f"{self.source}: {self.name}"

    @property
    def words(self) -> str:
        """What it says, without the exceptions."""
        if isinstance(self.value, HoursConfig):
            return hours_words(self.value)
        return ", ".join(self.value) if isinstance(self.value, tuple) else f"{self.value:,.12g}"

    @property
    def limit(self) -> float:
        """Of a rule that is a number: the one that holds now."""
        assert isinstance(self.value, int | float)  # noqa: S101 - by its kind
        return max(self.value, *(one.limit or 0.0 for one in self.lifted), 0.0)


class Ceiling(NamedTuple):
    """So much within each window of a key's time, at most."""

    rule: str
    unit: Unit
    window_s: float
    limit: float  # at least 1 of requests and tokens: less than one a second is one in a longer window


def rules_of_policy(policy: PolicyConfig, number: int) -> tuple[Rule, ...]:
    """Every rule that the policy has."""
    found = ((name, kind, getattr(policy, name)) for name, kind in OF_POLICY)
    return tuple(Rule(name, kind, value, policy.name, number) for name, kind, value in found if value is not None)


def rules_of_key(entry: KeyRecord | None) -> tuple[Rule, ...]:
    """Every rule of the key's own entry; an empty list there is none."""
    if entry is None:
        return ()
    found = ((name, kind, getattr(entry, name)) for name, kind in OF_KEY)
    return tuple(Rule(name, kind, value) for name, kind, value in found if value not in {None, ()})


def permits(rule: Rule, text: str, families: Families) -> bool:
    """Whether a list lets this model, endpoint, address, country or origin pass.

    >>> mini = Rule("denied_models", "models", ("@dear",), "p", 0)
    >>> [permits(mini, model, {"dear": ("o3-*",)}) for model in ("o3-pro", "gpt-4.1")]
    [False, True]
    """
    assert isinstance(rule.value, tuple)  # noqa: S101 - by its kind
    if any(_matches(rule.kind, text, one.allows, families) for one in rule.lifted):
        return True
    return _matches(rule.kind, text, rule.value, families) is not (rule.name == "denied_models")


def _matches(kind: RuleKind, text: str, wanted: Sequence[str], families: Families) -> bool:
    if kind == "networks":
        return within(text, wanted)
    if kind in {"countries", "origins"}:
        return any(fnmatchcase(text.lower(), pattern.lower()) for pattern in wanted)
    if kind == "models":
        wanted = [each for name in wanted for each in (families.get(name[1:], ()) if name[:1] == "@" else (name,))]
        parts = text.split("/")  # gateways write `openrouter/openai/gpt-4o`: the same model by another name
        names = [text, *("/".join(parts[at:]) for at in range(1, len(parts)) if parts[at])]
        return any(fnmatchcase(name, pattern) for name in names for pattern in wanted)
    return any(fnmatchcase(text, pattern) for pattern in wanted)


class Rules:
    """All that holds for a key, ready to be asked. Keys with the same rules share one of these."""

    __slots__ = ("_families", "_hours", "_input", "_listed", "_minute", "_open", "_output", "_spans", "_unseen",
                 "ceilings", "rules")  # fmt: skip

    def __init__(self, rules: Iterable[Rule], *, families: Families, unseen: Unseen = "refuse") -> None:
        self.rules: Final = tuple(rules)
        self.ceilings: Final = _lowest(self.rules)
        self._families, self._unseen = families, unseen
        self._listed: tuple[tuple[int, dict[str, int], tuple[int, ...]], ...] = tuple(
            (field, {}, mine) for kind, field in SEEN_IN.items() if (mine := self._of(kind))
        )
        self._hours = tuple(at for at in self._of("hours") if not self.rules[at].lifted)
        self._minute, self._open = -1, len(self.rules)
        self._input, self._output = self._least("max_input_tokens"), self._least("max_output_tokens")
        self._spans: tuple[Span, ...] | None = None

    def broken(self, call: Call) -> Rule | None:
        """The first rule, in their order, that the call breaks. Ceilings count calls and are asked elsewhere.

        Where no call of a model is made (no requests: a list of models, a file, a key that is asked about) there is no
        model to judge; from where, to what and when stays to be judged, as far as it is told.
        """
        if not call.requests:
            return self._rule(self._looking(call))
        first = len(self.rules)
        for field, known, mine in self._listed:
            text: str = call[field]  # type: ignore[assignment]  # SEEN_IN names texts
            found = known.get(text)
            first = min(first, self._ask(text, known, mine) if found is None else found)
        if self._hours:
            first = min(first, self._closed(call.at_ms))
        if self._input or self._output:
            first = min(first, self._too_long(call))
        return self._rule(first)

    def refuses(self, kind: str, text: str) -> Rule | None:
        """The first rule of this kind that this model, endpoint, address, country or origin breaks."""
        for field, known, mine in self._listed:
            if field == SEEN_IN.get(kind):
                found = known.get(text)
                return self._rule(self._ask(text, known, mine) if found is None else found)
        return None

    def closed(self, at_ms: int) -> Rule | None:
        """The first hours that do not include the moment."""
        return self._rule(self._closed(at_ms)) if self._hours else None

    def longest(self, kind: str) -> float:
        """The lowest limit of this kind on one request; infinite without one."""
        mine = self._input if kind == "max_input_tokens" else self._output
        return min((limit for limit, _ in mine), default=float("inf"))

    @property
    def spans(self) -> tuple[Span, ...]:
        """The IPv4 addresses that every rule of networks lets pass, in order and apart."""
        if self._spans is None:
            self._spans = EVERYWHERE
            for at in self._of("networks"):
                rule = self.rules[at]
                lifted = (name for one in rule.lifted for name in one.allows)
                assert isinstance(rule.value, tuple)  # noqa: S101 - by its kind
                self._spans = both(self._spans, spans((*rule.value, *lifted)))
        return self._spans

    def of_kind(self, kind: str) -> tuple[Rule, ...]:
        return tuple(self.rules[at] for at in self._of(kind))

    def _rule(self, at: int) -> Rule | None:
        return self.rules[at] if at < len(self.rules) else None

    def _of(self, kind: str) -> tuple[int, ...]:
        return tuple(at for at, rule in enumerate(self.rules) if rule.kind == kind)

    def _least(self, kind: str) -> tuple[tuple[float, int], ...]:
        return tuple((self.rules[at].limit, at) for at in self._of(kind))

    def _ask(self, text: str, known: dict[str, int], mine: tuple[int, ...]) -> int:
        if not text:
            found = mine[0] if self._unseen == "refuse" else len(self.rules)
        else:
            refused = (at for at in mine if not permits(self.rules[at], text, self._families))
            found = next(refused, len(self.rules))
        if len(known) >= _REMEMBERED:
            known.clear()
        known[text] = found
        return found

    def _looking(self, call: Call) -> int:
        told = ((known, mine, str(call[field])) for field, known, mine in self._listed if field != SEEN_IN["models"])
        first = min((self._ask(text, known, mine) for known, mine, text in told if text), default=len(self.rules))
        return min(first, self._closed(call.at_ms)) if self._hours else first

    def _closed(self, at_ms: int) -> int:
        minute = at_ms // 60_000
        if minute != self._minute:
            closed = (at for at in self._hours if not is_open(self.rules[at].value, at_ms))  # type: ignore[arg-type]
            self._open, self._minute = next(closed, len(self.rules)), minute
        return self._open

    def _too_long(self, call: Call) -> int:
        length = call.input_tokens / max(call.requests, 1)
        broken = [at for limit, at in self._input if length > limit]
        if call.max_output_tokens is not None:
            broken += [at for limit, at in self._output if call.max_output_tokens > limit]
        elif self._unseen == "refuse":
            broken += [at for _, at in self._output]
        return min(broken, default=len(self.rules))


def _lowest(rules: Sequence[Rule]) -> tuple[Ceiling, ...]:
    """Of several ceilings over the same window the lowest; of equal ones the first."""
    found: dict[tuple[Unit, float], Ceiling] = {}
    for rule in rules:
        if rule.kind in CEILINGS:
            unit, window_s = CEILINGS[rule.kind]
            limit = rule.limit * (1e9 if unit == "nano_usd" else 1)
            stretch = 1 / limit if limit < 1 else 1.0
            ceiling = Ceiling(rule.label, unit, window_s * stretch, limit * stretch)
            same = found.get((unit, window_s))
            if same is None or ceiling.limit / ceiling.window_s < same.limit / same.window_s:
                found[unit, window_s] = ceiling
    return tuple(found.values())
