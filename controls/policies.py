"""The policy plane: what a key may do. A breach is certain; nothing is learned here. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final, NamedTuple, Protocol

from controls.rules import Ceiling, Rule, Rules, rules_of_key, rules_of_policy
from schemas.call import Call, Ruling
from schemas.config.policies import PoliciesConfig
from schemas.exception import OF_BUDGETS, PolicyException
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts

_CACHE_LIMIT: Final = 200_000
_FOREVER: Final = (-1 << 62, 1 << 62)


class _Scoped(Protocol):
    """What is for the keys that match every scope given; an empty one matches all."""

    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def teams(self) -> tuple[str, ...]: ...
    @property
    def apps(self) -> tuple[str, ...]: ...
    @property
    def envs(self) -> tuple[str, ...]: ...


class _Known(NamedTuple):
    """What holds for a key, and until when."""

    group: tuple[str, str, str]
    entry: KeyRecord | None
    from_ms: int
    until_ms: int  # an exception begins or ends then
    rules: Rules


class Policies:
    """`policies.yaml` and the exceptions, ready to be asked. Answers are remembered: a key asks the same for ever.

    >>> from schemas.config.policies import PolicyConfig
    >>> policies = Policies(PoliciesConfig(policies=(PolicyConfig(name="small", allowed_models=("gpt-4.1*",)),)))
    >>> facts = KeyFacts(provider="openai")
    >>> policies.forbidden("k1", facts, "gpt-4.1-mini"), policies.forbidden("k1", facts, "o3-pro")
    (None, 'small')
    >>> policies.judge(Call("k1", 0, model="o3-pro"), facts)[:2]
    ('deny', 'policy small: allowed_models')
    """

    def __init__(self, config: PoliciesConfig, exceptions: Iterable[PolicyException] = ()) -> None:
        self.config = config
        self.exceptions = tuple(one for one in PolicyException.newest(exceptions) if one.state == "active")
        self._written = tuple(rules_of_policy(policy, at) for at, policy in enumerate(config.policies))
        self._keys: dict[str, _Known] = {}
        self._shared: dict[tuple[object, ...], Rules] = {}
        self._groups: dict[tuple[str, str, str], tuple[int, ...]] = {}
        self._models: dict[tuple[str, ...], str | None] = {}

    def rules_of(self, key_id: str, facts: KeyFacts, entry: KeyRecord | None, at_ms: int) -> Rules:
        """All rules that hold for the key at this moment."""
        known = self._keys.get(key_id)
        group = (facts.team, facts.app, facts.env)
        if (
            known is not None and known.entry is entry and known.group == group
            and known.from_ms <= at_ms < known.until_ms
        ):  # fmt: skip
            return known.rules
        if len(self._keys) >= _CACHE_LIMIT:
            self._keys.clear()
        known = self._keys[key_id] = self._look_up(key_id, facts, entry, at_ms)
        return known.rules

    def judge(self, call: Call, facts: KeyFacts, entry: KeyRecord | None = None) -> Ruling:
        """Whether the call may be made as far as lists, lengths and hours go."""
        return self.rules_of(call.key_id, facts, entry, call.at_ms).judge(call)

    def ceilings(self, key_id: str, facts: KeyFacts, entry: KeyRecord | None, at_ms: int) -> tuple[Ceiling, ...]:
        """How much the key may do within which time; the quotas of its own entry too. One for each unit and window."""
        return self.rules_of(key_id, facts, entry, at_ms).ceilings

    def forbidden(self, key_id: str, facts: KeyFacts, model: str) -> str | None:
        """The first policy, in the order written, that covers the key and does not allow the model; else None.

        Patterns are shell-style and tell upper from lower case.
        """
        if not self._written:
            return None
        question = (key_id, facts.team, facts.app, facts.env, model)
        if question not in self._models:
            if len(self._models) >= _CACHE_LIMIT:
                self._models.clear()
            rules = Rules(self._of_policies(key_id, facts), families=self.config.families)
            refused = rules.refuses("models", model)
            self._models[question] = refused.policy if refused else None
        return self._models[question]

    def _look_up(self, key_id: str, facts: KeyFacts, entry: KeyRecord | None, at_ms: int) -> _Known:
        written = (*self._of_policies(key_id, facts), *rules_of_key(entry))
        mine = [one for one in self.exceptions if one.rule not in OF_BUDGETS and covers(one, key_id, facts)]
        moments = sorted({moment for one in mine for moment in (one.from_ms, one.until_ms)})
        at = bisect_right(moments, at_ms)
        from_ms = moments[at - 1] if at else _FOREVER[0]
        until_ms = moments[at] if at < len(moments) else _FOREVER[1]
        rules = self._rules(written, [one for one in mine if one.holds(at_ms)])
        return _Known((facts.team, facts.app, facts.env), entry, from_ms, until_ms, rules)

    def _rules(self, written: Sequence[Rule], lifting: Sequence[PolicyException]) -> Rules:
        """The same rules and exceptions are worked out once, for however many keys."""
        same = (*((rule.number, rule.name, rule.value if rule.number < 0 else None) for rule in written),
                *(one.exception_id for one in lifting))  # fmt: skip
        rules = self._shared.get(same)
        if rules is None:
            if len(self._shared) >= _CACHE_LIMIT:
                self._shared.clear()
            holding = [_lifted(rule, lifting) for rule in written]
            rules = Rules(holding, families=self.config.families, unseen=self.config.unseen)
            self._shared[same] = rules
        return rules

    def _of_policies(self, key_id: str, facts: KeyFacts) -> tuple[Rule, ...]:
        """The rules of all policies that cover the key, in the order written."""
        group = (facts.team, facts.app, facts.env)
        numbers = self._groups.get(group)
        if numbers is None:
            if len(self._groups) >= _CACHE_LIMIT:
                self._groups.clear()
            policies = enumerate(self.config.policies)
            numbers = self._groups[group] = tuple(at for at, policy in policies if _covers_group(policy, facts))
        policies_of = self.config.policies
        mine = (at for at in numbers if not policies_of[at].keys or key_id in policies_of[at].keys)
        return tuple(rule for at in mine for rule in self._written[at])


def covers(scoped: _Scoped, key_id: str, facts: KeyFacts) -> bool:
    """Whether a policy or an exception is for this key."""
    return (not scoped.keys or key_id in scoped.keys) and _covers_group(scoped, facts)


def _covers_group(scoped: _Scoped, facts: KeyFacts) -> bool:
    scopes = ((scoped.teams, facts.team), (scoped.apps, facts.app), (scoped.envs, facts.env))
    return all(not wanted or any(fnmatchcase(value, pattern) for pattern in wanted) for wanted, value in scopes)


def _lifted(rule: Rule, lifting: Sequence[PolicyException]) -> Rule:
    mine = tuple(one for one in lifting if one.rule == rule.kind and one.of in {"", rule.policy})
    return Rule(rule.name, rule.kind, rule.value, rule.policy, rule.number, mine) if mine else rule
