"""`keyfuse policy explain`: rule by rule what holds for a key, where it is written, and what a call is told."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console

from alerting.words import clean
from controls.budgets import Budgets
from controls.expected import raised_budgets
from controls.policies import scope_words
from controls.refusals import judged
from controls.rules import Ceiling, Rule, Rules
from gate.unpriced import in_words, usd_limit
from schemas.call import Call
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts, rfc3339
from schemas.redact import looks_secret
from service.config_errors import Loc
from service.errors import UserError
from service.history import moment
from service.install import Install, wall_ms
from service.policy_known import learn
from service.yaml_source import Source, read_source
from sources.pricing import PriceBook

_CEILING: Final = {"requests": "requests", "tokens": "tokens", "nano_usd": "USD"}


class Asked(NamedTuple):
    """A call as somebody describes it; empty where they said nothing."""

    model: str = ""
    endpoint: str = ""
    ip: str = ""
    country: str = ""
    origin: str = ""
    input_tokens: int = 0
    max_output_tokens: int | None = None
    at: str = ""

    @property
    def says_something(self) -> bool:
        return any((*self[:6], self.max_output_tokens is not None))

    def call(self, key_id: str, at_ms: int) -> Call:
        """As a gate is asked."""
        return Call(
            key_id, at_ms, self.model, self.endpoint, self.input_tokens, self.max_output_tokens, ip=self.ip,
            country=self.country, origin=self.origin,
        )  # fmt: skip


class Places:
    """Where rules are written: file and line."""

    def __init__(self, install: Install) -> None:
        self._sources = {name: read_source(install.config_dir / name) for name in ("policies.yaml", "keys.yaml")}
        self._key_at = {key.key_id: at for at, key in enumerate(install.folder.keys.keys)}

    def of(self, rule: Rule, key_id: str) -> str:
        """`policies.yaml:12`; of a key that a command made, where it is recorded."""
        if rule.number >= 0:
            return self._at("policies.yaml", ("policies", rule.number, rule.name))
        if key_id in self._key_at and rule.name in {"networks", "countries", "origins"}:
            return self._at("keys.yaml", ("keys", self._key_at[key_id], rule.name))
        return "the key's record"

    def policy(self, number: int) -> str:
        return self._at("policies.yaml", ("policies", number))

    def _at(self, name: str, loc: Loc) -> str:
        source: Source = self._sources[name]
        return f"{name}:{source.line(loc)}"


def explain(
    config: Path, key_id: str, asked: Asked, *, scope: Mapping[str, str | None], as_json: bool, out: Console
) -> None:
    """Print it; as JSON with the same facts."""
    if looks_secret(key_id):
        raise UserError("this looks like the secret itself; name the key as `keyfuse keys` shows it")
    install, now_ms = Install.open(config), wall_ms()
    at_ms = moment(asked.at, now_ms=now_ms, option="--at") if asked.at else now_ms
    unknown = learn(install)
    found = install.registry.named(key_id)
    key_id = found[0] if found else key_id
    entry = install.registry.entry(key_id)
    facts = _facts(entry, scope, key_id)
    told = Explained(install, key_id, facts, entry, asked, at_ms)
    if as_json:
        out.print(json.dumps(told.facts() | ({"unknown": unknown} if unknown else {}), indent=2), markup=False)
        return
    out.print("\n".join([*told.lines(), *([f"\n{unknown}"] if unknown else [])]), markup=False)


def _facts(entry: KeyRecord | None, scope: Mapping[str, str | None], key_id: str) -> KeyFacts:
    """What is registered, with what was said on the command line instead where it was."""
    said = {name: value for name, value in scope.items() if value is not None}
    if entry is None and not said:
        raise UserError(f"{key_id} is not registered; say what it would be with --team, --app and --env")
    return (entry.facts() if entry else KeyFacts(provider="unknown")).model_copy(update=said)


class Explained:
    """All that there is to say of one key at one moment."""

    def __init__(
        self, install: Install, key_id: str, facts: KeyFacts, entry: KeyRecord | None, asked: Asked, at_ms: int
    ) -> None:
        self._install, self._key_id, self._facts, self._entry = install, key_id, facts, entry
        self._asked, self._at_ms = asked, at_ms
        self._places = Places(install)
        self._rules: Rules = install.policies.rules_of(key_id, facts, entry, at_ms)
        self._call = asked.call(key_id, at_ms)
        budgets = Budgets(raised_budgets(install.folder.budgets, install.exceptions, at_ms)).covering(key_id, facts)
        quotas = (each for each in self._rules.ceilings if each.unit == "nano_usd")
        self._usd_limit = usd_limit(budgets, next(quotas, None))
        """What limits the key in USD for good; empty: nothing."""
        book = PriceBook()
        self._priced = not asked.model or book.per_token(facts.provider, asked.model, at_ms) is not None

    def lines(self) -> Iterator[str]:
        facts = self._facts
        known = "registered" if self._entry else "not registered"
        yield f"key    {clean(self._key_id)} ({known})"
        yield f"owner  {clean(f'{facts.team}/{facts.app} in {facts.env}', 120)}"
        yield f"at     {_utc(self._at_ms)} UTC"
        yield ""
        if not self._rules.rules:
            yield "no rule holds: no policy covers it, and its entry has none"
        else:
            yield "A call must pass every one of these rules; only an exception lifts one."
            yield from self._rule_lines()
        yield from self._other_lines()
        if self._rules.ceilings:
            yield "\nof ceilings over the same time the lowest holds:"
            yield from (f"    {_ceiling_words(each):<28}  {clean(each.rule, 120)}" for each in self._rules.ceilings)
        unpriced = in_words(self._install.folder.wiring.gate, self._facts.env, self._usd_limit)
        if unpriced:
            yield f"\nat a gate a call whose model has no known price, or is not said, is {clean(unpriced, 200)}"
        if self._asked.says_something:
            yield f"\nthe call is {self._ruling_words()}"

    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        ruling = self._install.policies.judge(self._call, self._facts, self._entry)
        return {
            "key_id": self._key_id, "registered": self._entry is not None, "at": rfc3339(self._at_ms),
            "team": self._facts.team, "app": self._facts.app, "env": self._facts.env,
            "rules": [
                {"rule": rule.label, "value": rule.words, "place": self._places.of(rule, self._key_id),
                 "exceptions": [one.model_dump(mode="json") for one in rule.lifted], "call": self._verdict(rule)}
                for rule in self._rules.rules
            ],
            "policies_that_do_not_cover_it": [policy.name for _, policy in self._others()],
            "ceilings": [each._asdict() for each in self._rules.ceilings],
            "usd_limit": self._usd_limit,
            "unpriced": self._install.folder.wiring.gate.unpriced_in(self._facts.env),
            "ruling": ruling._asdict() if self._asked.says_something else None,
        }  # fmt: skip

    def _rule_lines(self) -> Iterator[str]:
        wide = min(max(len(rule.label) for rule in self._rules.rules), 60)
        for number, rule in enumerate(self._rules.rules, 1):
            verdict = self._verdict(rule)
            words, place = clean(rule.words, 200), self._places.of(rule, self._key_id)
            told = f"  {verdict.upper() if verdict == 'refuses' else verdict}" if verdict else ""
            yield f"{number:>3}. {clean(rule.label, 120):<{wide}}  {words}  ({place}){told}"
            for one in rule.lifted:
                yield f"       exception {one.exception_id}: {clean(one.words, 200)}"
                yield f"       by {clean(one.by)}, approved by {clean(one.approved_by)}: {clean(one.reason, 200)}"

    def _verdict(self, rule: Rule) -> str:
        """What the rule says of the call that was described: empty where it was not, or where rules count calls."""
        if not self._asked.says_something:
            return ""
        config = self._install.folder.policies
        return judged(rule, self._call, config.families)

    def _others(self) -> Iterator[tuple[int, Any]]:
        covering = {rule.number for rule in self._rules.rules}
        named = enumerate(self._install.folder.policies.policies)
        yield from ((at, policy) for at, policy in named if at not in covering)

    def _other_lines(self) -> Iterator[str]:
        others = list(self._others())
        if others:
            yield "\npolicies that do not hold for it:"
        for at, policy in others:
            yield f"    {clean(policy.name, 80)}: for {clean(scope_words(policy), 120)} ({self._places.policy(at)})"

    def _ruling_words(self) -> str:
        ruling = self._install.policies.judge(self._call, self._facts, self._entry)
        if ruling.state == "allow":
            told = "allowed, as far as policies go; verdicts, ceilings and budgets are the gate's"
            return told if self._priced else f"{told}. {clean(self._asked.model, 120)} has no known price"
        return f"refused by {clean(ruling.rule, 120)}: {clean(ruling.reason, 500)}"


def _ceiling_words(ceiling: Ceiling) -> str:
    limit = ceiling.limit / (1e9 if ceiling.unit == "nano_usd" else 1)
    span = {1: "second", 60: "minute", 86_400: "day"}.get(int(ceiling.window_s), f"{ceiling.window_s:g} s")
    return f"{limit:,.10g} {_CEILING[ceiling.unit]} a {span}"


def _utc(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
