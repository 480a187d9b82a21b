"""The policy plane: what a key may do. A breach is certain; nothing is learned here. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final, NamedTuple, Protocol

from controls.refusals import REFUSING, refusal
from controls.rules import Ceiling, Families, Rule, Rules, Unseen, rules_of_key, rules_of_policy
from schemas.call import ALLOW, Call, Ruling
from schemas.config.policies import PoliciesConfig
from schemas.exception import PolicyException
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts

_CACHE_LIMIT: Final = 200_000


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


class Covering:
    """The rules written for a key, and the exceptions that lift some of them in their time. Shared by keys alike."""

    __slots__ = ("_families", "_held", "_moments", "_unseen", "_written", "kinds", "lifting")

    def __init__(
        self, written: tuple[Rule, ...], lifting: tuple[PolicyException, ...], *, families: Families, unseen: Unseen
    ) -> None:
        self._written, self._families, self._unseen = written, families, unseen
        self.lifting: Final = lifting
        self.kinds: Final[frozenset[str]] = frozenset(rule.kind for rule in written)
        self._moments = sorted({moment for one in lifting for moment in (one.from_ms, one.until_ms)})
        self._held: dict[int, Rules] = {}

    @property
    def steady(self) -> bool:
        """Whether the rules are the same at every moment."""
        return not self._moments

    @property
    def moments(self) -> Sequence[int]:
        """When the rules change: an exception begins or ends. In order."""
        return self._moments

    def at(self, at_ms: int) -> Rules:
        """The rules as they hold at this moment."""
        since = bisect_right(self._moments, at_ms) if self._moments else 0
        rules = self._held.get(since)
        if rules is None:
            holding = [one for one in self.lifting if one.holds(at_ms)]
            lifted = [_lifted(rule, holding) for rule in self._written]
            rules = self._held[since] = Rules(lifted, families=self._families, unseen=self._unseen)
        return rules


class _Known(NamedTuple):
    """What was found for a key, and what for."""

    group: tuple[str, str, str]
    entry: KeyRecord | None
    covering: Covering


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
        self._shared: dict[tuple[object, ...], Covering] = {}
        self._groups: dict[tuple[str, str, str], tuple[int, ...]] = {}
        self._models: dict[tuple[str, ...], str | None] = {}

    def covering(self, key_id: str, facts: KeyFacts, entry: KeyRecord | None) -> Covering:
        """All that was written for the key, with what lifts it and when."""
        known, group = self._keys.get(key_id), (facts.team, facts.app, facts.env)
        if known is not None and known.entry is entry and known.group == group:
            return known.covering
        if len(self._keys) >= _CACHE_LIMIT:
            self._keys.clear()
        written = (*self._of_policies(key_id, facts), *rules_of_key(entry))
        kinds = {rule.kind for rule in written}
        lifting = tuple(one for one in self.exceptions if one.rule in kinds and covers(one, key_id, facts))
        found = self._same(written, lifting)
        self._keys[key_id] = _Known(group, entry, found)
        return found

    def rules_of(self, key_id: str, facts: KeyFacts, entry: KeyRecord | None, at_ms: int) -> Rules:
        """All rules that hold for the key at this moment."""
        return self.covering(key_id, facts, entry).at(at_ms)

    def judge(self, call: Call, facts: KeyFacts, entry: KeyRecord | None = None) -> Ruling:
        """Whether the call may be made as far as lists, lengths and hours go."""
        rule = self.rules_of(call.key_id, facts, entry, call.at_ms).broken(call)
        return ALLOW if rule is None else Ruling("deny", rule.label, refusal(rule, call, self.config.families))

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

    def refusing(self) -> tuple[Rule, ...]:
        """Every rule of every policy that refuses single calls, in the order written."""
        return tuple(rule for rules in self._written for rule in rules if rule.kind in REFUSING)

    def _same(self, written: tuple[Rule, ...], lifting: tuple[PolicyException, ...]) -> Covering:
        """The same rules and exceptions are worked out once, for however many keys."""
        same = (*((rule.number, rule.name, rule.value if rule.number < 0 else None) for rule in written),
                *(one.exception_id for one in lifting))  # fmt: skip
        found = self._shared.get(same)
        if found is None:
            if len(self._shared) >= _CACHE_LIMIT:
                self._shared.clear()
            families, unseen = self.config.families, self.config.unseen
            found = self._shared[same] = Covering(written, lifting, families=families, unseen=unseen)
        return found

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
        mine = (at for at in numbers if _covers_key(policies_of[at], key_id, facts))
        return tuple(rule for at in mine for rule in self._written[at])


def covers(scoped: _Scoped, key_id: str, facts: KeyFacts) -> bool:
    """Whether a policy or an exception is for this key."""
    return _covers_key(scoped, key_id, facts) and _covers_group(scoped, facts)


def _covers_key(scoped: _Scoped, key_id: str, facts: KeyFacts) -> bool:
    """By its name, and by those of the keys it took over from: a new secret is no way out of a rule."""
    return not scoped.keys or key_id in scoped.keys or not set(facts.formerly).isdisjoint(scoped.keys)


def scope_words(scoped: _Scoped) -> str:
    """Whom a policy is for.

    >>> from schemas.config.policies import PolicyConfig
    >>> scope_words(PolicyConfig(name="p", teams=("search", "ads"), envs=("dev",))), scope_words(PolicyConfig(name="q"))
    ('team search or ads, env dev', 'every key')
    """
    named = (("key", scoped.keys), ("team", scoped.teams), ("app", scoped.apps), ("env", scoped.envs))
    return ", ".join(f"{name} {' or '.join(values)}" for name, values in named if values) or "every key"


def _covers_group(scoped: _Scoped, facts: KeyFacts) -> bool:
    scopes = ((scoped.teams, facts.team), (scoped.apps, facts.app), (scoped.envs, facts.env))
    return all(not wanted or any(fnmatchcase(value, pattern) for pattern in wanted) for wanted, value in scopes)


def _lifted(rule: Rule, lifting: Sequence[PolicyException]) -> Rule:
    mine = tuple(one for one in lifting if one.rule == rule.kind and one.of in {"", rule.policy})
    return Rule(rule.name, rule.kind, rule.value, rule.policy, rule.number, mine) if mine else rule
