"""What whoever is refused by a policy is told: what is allowed, what was asked for, what to do. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from controls.rules import SEEN_IN, Families, Rule, Rules
from schemas.call import Call
from schemas.exception import RuleKind

_NOUN: Final = {
    "models": "model", "endpoints": "endpoint", "networks": "address", "countries": "country", "origins": "origin",
}  # fmt: skip
_SHOWN: Final = 80
ASK: Final = "; ask for an exception with `keyfuse policy except`"
"""The end of each refusal."""


def judged(rule: Rule, call: Call, families: Families) -> str:
    """What one rule says of a call: `passes`, `refuses`, `not said` by the call, or nothing where it counts calls."""
    alone = Rules((rule,), families=families, unseen="pass")
    if rule.kind not in _REFUSALS:
        return ""
    if rule.kind in SEEN_IN and not call[SEEN_IN[rule.kind]]:
        return "not said"
    if rule.kind == "max_output_tokens" and call.max_output_tokens is None:
        return "not said"
    return "refuses" if alone.broken(call) else "passes"


def refusal(rule: Rule, call: Call, families: Families) -> str:
    """One sentence for whoever is refused: what is allowed, what was asked for, what to do."""
    return f"{rule.source} {_REFUSALS[rule.kind](rule, call, families)}{ASK}"


def _listed(rule: Rule, call: Call, families: Families) -> str:
    noun, words = _NOUN[rule.kind], _spelled(rule, families)
    text = str(call[SEEN_IN[rule.kind]])
    allowed = f"refuses {words}" if rule.name == "denied_models" else f"allows {_nouns(noun)} {words}"
    if not text:
        return f"{allowed}, and the call does not say its {noun}: send it, or set `unseen: pass` in policies.yaml"
    return f"{allowed}, and the call has {noun} {text[:_SHOWN]}"


def _spelled(rule: Rule, families: Families) -> str:
    """Its words, and what a family of models is."""
    if rule.kind != "models" or not isinstance(rule.value, tuple):
        return rule.words
    known = {f"@{name}": ", ".join(models) for name, models in families.items()}
    return ", ".join(f"{each} ({known[each]})" if each in known else each for each in rule.value)


def _nouns(noun: str) -> str:
    return {"address": "addresses", "country": "countries"}.get(noun, f"{noun}s")


def _hours_told(rule: Rule, _call: Call, _families: Families) -> str:
    return f"allows calls {rule.words} only"


def _input_told(rule: Rule, call: Call, _families: Families) -> str:
    length = -(-call.input_tokens // max(call.requests, 1))
    return f"allows {rule.limit:,.0f} input tokens a request, and the call has {length:,}: send less"


def _output_told(rule: Rule, call: Call, _families: Families) -> str:
    most = f"allows {rule.limit:,.0f} output tokens a request"
    if call.max_output_tokens is None:
        return f"{most}, and the call sets no limit: set max_tokens"
    return f"{most}, and the call asks for {call.max_output_tokens:,}: set max_tokens lower"


_REFUSALS: Final[Mapping[RuleKind, Callable[[Rule, Call, Families], str]]] = {
    "models": _listed, "endpoints": _listed, "networks": _listed, "countries": _listed, "origins": _listed,
    "hours": _hours_told, "max_input_tokens": _input_told, "max_output_tokens": _output_told,
}  # fmt: skip
REFUSING: Final = frozenset(_REFUSALS)
"""Kinds of rules that look at single calls; the others count them."""
