"""Who owns a key and how it is used: application, models, machines, programs, prices. Seeded, one draw per key.

Healthy change is part of a profile: each week a key may get another egress network, client version, model or country.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from benchmarks.containment.columns import DAY_MS, HOUR_MS, START_MS, WEEK_MS, Floats, Ints, Ledger, Owner
from sources.simulator.keys import PROVIDER_MIX, TEAMS
from sources.simulator.prices import MAX_INPUT_TOKENS, MAX_OUTPUT_TOKENS, PROVIDERS, unit_prices
from sources.simulator.use import CACHEABLE, mean_tokens

CHANGE_PER_WEEK: Final = {"network": 0.05, "agent": 0.05, "model": 0.05, "country": 0.01}
"""Chance that a key changes in this way in a week."""
USD_PER_MONTH: Final = (180.0, 1.3, 10.0, 10_000.0)
"""Median, sd of the logarithm, least and most of what a key spends: 180 is the bill of a published victim."""
MOST_LENGTH: Final = 60.0
COUNTRIES: Final = ("US", "DE", "IE", "NL", "GB")
_COUNTRY_WEIGHTS: Final = (0.5, 0.2, 0.1, 0.1, 0.1)
_ENVS: Final = ("prod", "staging", "dev")
_ENV_SHARES: Final = (0.6, 0.2, 0.2)
_ERRORS: Final = (math.log(0.002), math.log(0.02))  # shares of requests that fail, drawn evenly between logarithms
_PROGRAMS: Final = {"openai": "OpenAI/Python", "anthropic": "Anthropic/Python", "google": "google-genai-sdk"}
_OTHER_PROGRAMS: Final = {"openai": "OpenAI/JS", "anthropic": "Anthropic/JS", "google": "google-genai-sdk-js"}
_WEEKS: Final = 2
_MIX_BLOCK_MS: Final = 6 * HOUR_MS
_LIVE_DAYS: Final = 2.0  # a new model takes over this slowly


class Choice(NamedTuple):
    """One value among others, and how often it is taken: `weight` from `from_ms` on, reached over `ramp_ms`."""

    code: int
    weight: float
    from_ms: int = 0
    ramp_ms: int = 0
    until_ms: int = 1 << 62


@dataclass(frozen=True, eq=False)
class Profile:
    """One key in its owner's hands."""

    owner: Owner
    endpoint: int
    models: tuple[Choice, ...]
    ips: tuple[Choice, ...]
    country_of: dict[int, int]  # by ip
    agents: tuple[Choice, ...]
    cached_share: float  # of requests that find their prompt in the provider's cache
    error_rate: float
    length: float  # times the published tokens
    log_input: Floats  # usual lengths at TOKEN_PROBABILITIES, `length` included: what a thief imitates
    log_output: Floats
    changes: tuple[str, ...]  # what changes in its life, in words

    @property
    def main_model(self) -> int:
        return max(self.models, key=lambda model: model.weight if model.from_ms == 0 else 0).code


def make_profile(
    ledger: Ledger, key_id: str, rng: np.random.Generator, *, log_input: Floats, log_output: Floats,
    requests_per_month: float,
) -> Profile:  # fmt: skip
    """The profile of one key; adds its owner to the ledger. `log_input` and `log_output` are the published lengths.

    Published prompts are short and cheap. They are lengthened by one factor for each key, so that its monthly bill
    comes near one drawn from USD_PER_MONTH.
    """
    provider = str(rng.choice(list(PROVIDER_MIX), p=list(PROVIDER_MIX.values())))
    team = str(rng.choice(list(TEAMS)))
    owner = Owner(key_id, provider, team, str(rng.choice(TEAMS[team])), str(rng.choice(_ENVS, p=_ENV_SHARES)))
    models, model_changes = _models(ledger, provider, rng)
    ips, country_of, place_changes = _places(ledger, rng)
    agents, agent_changes = _agents(ledger, provider, rng)
    cached = float(rng.beta(4, 2)) if rng.random() < 0.4 else 0.0
    median, sd, least, most = USD_PER_MONTH
    target = float(np.clip(median * math.exp(sd * rng.standard_normal()), least, most))
    natural = requests_per_month * _usd(ledger, provider, models, cached, np.exp(log_input), np.exp(log_output))
    length = float(np.clip(target / max(natural, 1e-12), 1.0, MOST_LENGTH))
    ledger.owners.append(owner)
    return Profile(
        owner=owner, endpoint=ledger.texts.code(PROVIDERS[provider].endpoint), models=models, ips=ips,
        country_of=country_of, agents=agents, cached_share=cached, error_rate=float(np.exp(rng.uniform(*_ERRORS))),
        length=length, log_input=lengthened(log_input, length, MAX_INPUT_TOKENS),
        log_output=lengthened(log_output, length, MAX_OUTPUT_TOKENS),
        changes=(*model_changes, *place_changes, *agent_changes),
    )  # fmt: skip


def lengthened(log_tokens: Floats, factor: float, cap: float) -> Floats:
    """Quantiles times a factor, no more than the model takes."""
    longer: Floats = np.minimum(log_tokens + math.log(factor), math.log(cap))
    return longer


def _usd(
    ledger: Ledger, provider: str, models: tuple[Choice, ...], cached: float, asked: Floats, answered: Floats
) -> float:
    """Mean cost of a request before anything changes."""
    tokens_in, tokens_out = mean_tokens(asked), mean_tokens(answered)
    usd = 0.0
    for model in models:
        price = unit_prices(provider, str(ledger.texts.text(model.code)))
        hit = CACHEABLE * cached
        per_input = (1 - hit) * price.input + hit * price.cached_input
        usd += (model.weight if model.from_ms == 0 else 0.0) * (tokens_in * per_input + tokens_out * price.output)
    return usd


def _moments(what: str, rng: np.random.Generator) -> list[int]:
    """When a key changes in this way."""
    weeks = np.flatnonzero(rng.random(_WEEKS) < CHANGE_PER_WEEK[what])
    return [int(START_MS + (week + rng.random()) * WEEK_MS) for week in weeks.tolist()]


def _models(ledger: Ledger, provider: str, rng: np.random.Generator) -> tuple[tuple[Choice, ...], list[str]]:
    known = PROVIDERS[provider]
    order = [(known.small, known.middle), (known.middle, known.small), (known.large, known.middle)]
    main, second = order[int(rng.choice(3, p=(0.3, 0.5, 0.2)))]
    third = next(model for model in (known.small, known.middle, known.large) if model not in (main, second))
    count = int(rng.choice(3, p=(0.4, 0.45, 0.15))) + 1
    share = float(rng.uniform(0.7, 0.97))
    shares = [[1.0], [share, 1 - share], [share, 0.7 * (1 - share), 0.3 * (1 - share)]][count - 1]
    models = [Choice(ledger.texts.code(name), part) for name, part in zip((main, second, third), shares, strict=False)]
    changes = []
    for moment in _moments("model", rng):
        code = ledger.texts.code((main, second, third)[min(count, 2)])
        models.append(Choice(code, float(rng.uniform(0.3, 2.0)), moment, int(_LIVE_DAYS * DAY_MS)))
        changes.append(f"model {moment}")
    return tuple(models), changes


def _places(ledger: Ledger, rng: np.random.Generator) -> tuple[tuple[Choice, ...], dict[int, int], list[str]]:
    """Addresses of 198.18.0.0/15, which name nobody real."""
    homes = rng.choice(len(COUNTRIES), 2, replace=False, p=_COUNTRY_WEIGHTS).tolist()
    home_in = [COUNTRIES[home] for home in homes[: 2 if rng.random() < 0.15 else 1]]
    ips: list[Choice] = []
    country_of: dict[int, int] = {}

    def settle(country: str, weight: float, from_ms: int = 0) -> None:
        network = int(rng.integers(512))
        for host in rng.choice(np.arange(1, 255), int(rng.integers(1, 5)), replace=False).tolist():
            code = ledger.texts.code(f"198.{18 + network // 256}.{network % 256}.{host}")
            ips.append(Choice(code, weight, from_ms))
            country_of[code] = ledger.texts.code(country)

    for at in range(max(len(home_in), int(rng.integers(1, 5)))):
        settle(home_in[at % len(home_in)], 1 / (at + 1))
    changes = []
    for moment in _moments("network", rng):
        settle(home_in[0], float(rng.uniform(0.2, 1.0)), moment)
        changes.append(f"network {moment}")
    for moment in _moments("country", rng):
        settle(str(rng.choice([c for c in COUNTRIES if c not in home_in])), float(rng.uniform(0.1, 0.5)), moment)
        changes.append(f"country {moment}")
    return tuple(ips), country_of, changes


def _agents(ledger: Ledger, provider: str, rng: np.random.Generator) -> tuple[tuple[Choice, ...], list[str]]:
    version = int(rng.integers(1, 40))
    names = [f"{_PROGRAMS[provider]} 1.{version}.0"]
    if rng.random() < 0.3:
        names.append(f"{_OTHER_PROGRAMS[provider]} 1.{int(rng.integers(1, 40))}.0")
    agents = [Choice(ledger.texts.code(name), 1.0 / (at + 1)) for at, name in enumerate(names)]
    changes = []
    for step, moment in enumerate(_moments("agent", rng), start=1):
        old = agents[0] if step == 1 else agents[-1]
        agents[agents.index(old)] = old._replace(until_ms=moment)
        code = ledger.texts.code(f"{_PROGRAMS[provider]} 1.{version + step}.0")
        agents.append(Choice(code, old.weight, moment, DAY_MS))
        changes.append(f"agent {moment}")
    return tuple(agents), changes


def countries(profile: Profile, ip: Ints) -> Ints:
    """The country of each of the profile's own addresses."""
    known = np.array(sorted(profile.country_of.items()), np.int64).reshape(-1, 2)
    found: Ints = known[np.searchsorted(known[:, 0], ip), 1]
    return found


def draw(choices: Sequence[Choice], ts_ms: Ints, rng: np.random.Generator, *, steadiness: float = math.inf) -> Ints:
    """One choice's code for each moment. With finite `steadiness` the weights wander from one six hours to the next."""
    weight = np.empty((len(choices), len(ts_ms)))
    for at, one in enumerate(choices):
        risen = np.clip((ts_ms - one.from_ms) / max(one.ramp_ms, 1), 0.0, 1.0)
        if one.until_ms < 1 << 62:  # what replaces it takes a day
            risen = risen * np.clip(1 - (ts_ms - one.until_ms) / DAY_MS, 0.0, 1.0)
        weight[at] = one.weight * risen
    if math.isfinite(steadiness) and len(ts_ms):
        block = (ts_ms - START_MS) // _MIX_BLOCK_MS
        mean = weight.mean(axis=1) / weight.mean(axis=1).sum()
        spread = np.maximum(mean * steadiness, 0.05)
        wander = rng.gamma(spread[:, None], 1 / spread[:, None], (len(choices), int(block.max()) + 1))
        weight = weight * wander[:, block] + 1e-12 * weight
    until = np.cumsum(weight, axis=0)
    taken = (rng.random(len(ts_ms)) * until[-1] >= until[:-1]).sum(axis=0)
    codes: Ints = np.array([one.code for one in choices], np.int64)[taken]
    return codes
