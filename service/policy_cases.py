"""`keyfuse policy test`: tables of cases against the policies of a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from rich.console import Console

from alerting.words import clean, counted
from controls.policies import Policies
from controls.refusals import ASK
from controls.registry import Registry
from controls.rules import CEILINGS, Ceiling
from schemas.call import Call, Ruling
from schemas.config.policy_cases import CallFields, CaseConfig, CasesConfig
from schemas.records import KeyFacts
from service.config_folder import load_file
from service.config_tree import ConfigFile
from service.errors import UserError
from service.install import Install

_FILE: Final = ConfigFile("cases", "cases", CasesConfig, "a table of cases, with `cases:` and a list")
_NOON_MS: Final = 1_795_428_000_000  # a Monday, 2026-11-23 10:00 UTC: the same on every day the tests run
_FIELDS: Final = tuple(CallFields.model_fields)


class Tried(NamedTuple):
    """One call of one case."""

    place: str  # file:line
    name: str
    call: str  # what was tried, in words
    wrong: str  # what came out otherwise; empty when all is as expected
    rule: str  # which rule spoke


def run(config: Path, files: Sequence[Path], *, as_json: bool, out: Console) -> bool:
    """Print what fails, and how much was tried; True when nothing fails."""
    install = Install.open(config)
    tried = [one for file in files for one in _cases(install, file)]
    silent = _silent(install, {one.rule for one in tried})
    failed = [one for one in tried if one.wrong]
    if as_json:
        told = {"tried": len(tried), "failed": [one._asdict() for one in failed], "rules_without_a_case": silent}
        out.print(json.dumps(told, indent=2), markup=False)
        return not failed
    for one in failed:
        out.print(f"FAIL  {one.place}  {clean(one.name, 120)}\n      {clean(one.call, 300)}", markup=False)
        out.print(f"      {clean(one.wrong, 600)}", markup=False)
    passed = len(tried) - len(failed)
    out.print(f"{counted(passed, 'call')} as expected, {len(failed)} not", markup=False)
    if silent:
        out.print("no case is refused by:", markup=False)
        for label in silent:
            out.print(f"    {clean(label, 120)}", markup=False)
    return not failed


def _cases(install: Install, file: Path) -> Iterator[Tried]:
    """Raises ConfigErrors with all mistakes of the file."""
    config, source = load_file(file, _FILE)
    cases = cast("CasesConfig", config)
    if not cases.cases:
        raise UserError(f"{file}: there is no case in it")
    registry, policies = Registry(install.folder.keys), Policies(install.folder.policies)
    for number, case in enumerate(cases.cases):
        place = f"{file}:{source.line(('cases', number))}"
        for values in _combined(case, cases.defaults):
            yield _try(registry, policies, case, place, values)


def _combined(case: CaseConfig, defaults: CallFields) -> Iterator[dict[str, Any]]:
    """Each value of each list with each of the others."""
    lists = []
    for name in _FIELDS:
        value = getattr(case, name)
        value = getattr(defaults, name) if value is None else value
        lists.append((None,) if value is None else value)
    for values in product(*lists):
        yield {name: value for name, value in zip(_FIELDS, values, strict=True) if value is not None}


def _try(registry: Registry, policies: Policies, case: CaseConfig, place: str, values: dict[str, Any]) -> Tried:
    key_id = values.get("key", "a-key")
    entry = registry.entry(key_id)
    scope: dict[str, Any] = {name: values[name] for name in ("team", "app", "env") if name in values}
    facts = (entry.facts() if entry else KeyFacts(provider="unknown")).model_copy(update=scope)
    at_ms = _ms(values["at"]) if "at" in values else _NOON_MS
    call = Call(
        key_id, at_ms, values.get("model", ""), values.get("endpoint", ""), values.get("input_tokens", 0),
        values.get("max_output_tokens"), ip=values.get("ip", ""), country=values.get("country", ""),
        origin=values.get("origin", ""),
    )  # fmt: skip
    ruling = policies.judge(call, facts, entry)
    ceilings: dict[tuple[str, int], Ceiling] = {
        (one.unit, round(one.window_s)): one for one in policies.ceilings(key_id, facts, entry, at_ms)
    }
    wrong = [words for words in (_wrong_ruling(case, ruling), *_wrong_ceilings(case, ceilings)) if words]
    said = ", ".join(f"{name} {value}" for name, value in values.items()) or "a call that says nothing"
    return Tried(place, case.name, said, "; ".join(wrong), ruling.rule)


def _wrong_ruling(case: CaseConfig, ruling: Ruling) -> str:
    wanted = case.expect or ("deny" if case.rule or case.reason else None)
    got = f"refused by {ruling.rule}: {ruling.reason.removesuffix(ASK)}" if ruling.rule else "allowed"
    if wanted is not None and wanted != ruling.state:
        return f"expected {wanted}{f' by {case.rule}' if case.rule else ''}, got {got}"
    if case.rule and not f" {ruling.rule}".endswith(f" {case.rule}"):
        return f"expected the rule {case.rule}, got {got}"
    if case.reason and case.reason not in ruling.reason:
        return f"expected a reason with {case.reason!r}, got {got}"
    return ""


def _wrong_ceilings(case: CaseConfig, ceilings: Mapping[tuple[str, int], Ceiling]) -> Iterator[str]:
    for unknown in (name for name in case.ceilings if name not in CEILINGS):
        yield f"{unknown} is no ceiling: {', '.join(CEILINGS)}"
    for name, window in CEILINGS.items():
        wanted = case.ceilings.get(name)
        if wanted is None:
            continue
        found = ceilings.get(window)
        limit = found.limit / (1e9 if window[0] == "nano_usd" else 1) if found else 0.0
        if limit != wanted:
            by = f" by {found.rule}" if found else ""
            yield f"expected {name} {wanted:g}, got {f'{limit:g}{by}' if found else 'none'}"


def _silent(install: Install, spoken: set[str]) -> list[str]:
    """Rules that refuse calls, and refused none of these."""
    policies = Policies(install.folder.policies)
    return [rule.label for rule in policies.refusing() if rule.label not in spoken]


def _ms(moment: datetime) -> int:
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
