"""Made-up keys of a made-up company: teams, applications, environments, providers, and how each key is used."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from pydantic import SecretStr

from sources.simulator.arrivals import GapFamily, Gaps, Rhythm
from sources.simulator.fitted import RHYTHM_KINDS, TOKEN_SHAPES, RhythmKind
from sources.simulator.prices import PROVIDERS
from sources.simulator.use import Fruitless, Origin, Use, expected_request_usd

SCALE: Final = 0.01  # one company against the clients of a public cloud: rates are the trace's divided by 100
PROVIDER_MIX: Final[Mapping[str, float]] = {"openai": 0.5, "anthropic": 0.35, "google": 0.15}
TEAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "checkout": ("fraud-notes", "receipts"),
    "growth": ("copywriter", "lead-score"),
    "platform": ("log-triage", "codegen"),
    "search": ("query-rewrite", "rerank"),
    "support": ("chat", "ticket-tags"),
}
# Keys that run all day are mostly production keys, rare ones mostly belong to people who try things.
_ENV_SHARES: Final[Mapping[str, tuple[float, float, float]]] = {
    "constant": (1.0, 0.0, 0.0),
    "busy": (0.9, 0.1, 0.0),
    "regular": (0.7, 0.2, 0.1),
    "surging": (0.4, 0.3, 0.3),
    "rattling": (0.2, 0.3, 0.5),
    "rare": (0.1, 0.3, 0.6),
}
_ENVS: Final = ("prod", "staging", "dev")
_COUNTRIES: Final = ("US", "DE", "IE", "NL", "GB")
_AGENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("OpenAI/Python 2.8.1", "OpenAI/JS 6.9.0"),
    "anthropic": ("Anthropic/Python 0.75.0", "Anthropic/JS 0.71.0"),
    "google": ("google-genai-sdk/1.52.0 gl-python/3.12.8", "google-genai-sdk/1.30.0 gl-node/22.11.0"),
}
_FRUITLESS: Final = (
    Fruitless(429, "rate_limit_exceeded", 0.004),
    Fruitless(500, "server_error", 0.002),
    Fruitless(400, "invalid_request_error", 0.002),
)
_MINUTES_PER_MONTH: Final = 30 * 24 * 60


@dataclass(frozen=True)
class SimKey:
    """One made-up key: who owns it, how it is used and when."""

    key_id: str
    provider: str
    team: str
    app: str
    env: str
    kind: str  # name of its RhythmKind
    use: Use
    rhythm: Rhythm
    secret: SecretStr | None = field(default=None, repr=False)  # when set, events carry it as `key`, not the key_id
    report_as: str | None = None  # provider name written in events, which then carry their cost
    active_until_ms: int | None = None  # from here on its owner uses it no more

    @property
    def normal_usd_per_min(self) -> float:
        """Mean spend, idle time included."""
        return self.rhythm.long_run_rps * 60 * expected_request_usd(self.use)

    @property
    def normal_usd_per_month(self) -> float:
        """Mean spend of 30 days."""
        return self.normal_usd_per_min * _MINUTES_PER_MONTH


def with_monthly_usd(key: SimKey, usd_per_month: float) -> SimKey:
    """The same key, sending more or fewer requests so that 30 days cost this much on average."""
    factor = usd_per_month / key.normal_usd_per_month
    return replace(key, rhythm=replace(key.rhythm, mean_rps=key.rhythm.mean_rps * factor))


def make_keys(
    n: int,
    *,
    seed: int,
    provider_mix: Mapping[str, float] = PROVIDER_MIX,
    min_active_share: float = 0.0,
    with_secrets: bool = False,
    report_as: str | None = None,
) -> list[SimKey]:
    """`n` keys of five teams; the first keys do not depend on how many follow.

    `provider_mix` weighs providers by name. Four in ten of the trace's clients are active in fewer than one
    window of fifty: `min_active_share` raises them for a short run. ValueError for a provider that is not known.
    """
    unknown = set(provider_mix) - set(PROVIDERS)
    if unknown:
        raise ValueError(f"no models known for provider {', '.join(sorted(unknown))}; known: {', '.join(PROVIDERS)}")
    return [
        _make_key(
            np.random.default_rng((seed, index)),
            f"{seed}:{index}",
            provider_mix=provider_mix,
            min_active_share=min_active_share,
            with_secrets=with_secrets,
            report_as=report_as,
        )
        for index in range(n)
    ]


def _make_key(
    rng: np.random.Generator,
    name: str,
    *,
    provider_mix: Mapping[str, float],
    min_active_share: float,
    with_secrets: bool,
    report_as: str | None,
) -> SimKey:
    kind = RHYTHM_KINDS[_pick(rng, [kind.weight for kind in RHYTHM_KINDS])]
    env = _ENVS[_pick(rng, _ENV_SHARES[kind.name])]
    provider = list(provider_mix)[_pick(rng, list(provider_mix.values()))]
    team = list(TEAMS)[rng.integers(len(TEAMS))]
    app = TEAMS[team][rng.integers(len(TEAMS[team]))]
    mark = hashlib.sha256(name.encode()).hexdigest()
    return SimKey(
        key_id=f"{team}-{app}-{env}-{mark[:8]}",
        provider=provider,
        team=team,
        app=app,
        env=env,
        kind=kind.name,
        use=_make_use(rng, provider, env),
        rhythm=_make_rhythm(rng, kind, min_active_share),
        secret=SecretStr(f"sk-simulated-{mark}") if with_secrets else None,
        report_as=report_as,
    )


def _pick(rng: np.random.Generator, weights: Sequence[float]) -> int:
    p = np.array(weights, np.float64)
    return int(rng.choice(len(p), p=p / p.sum()))


def _near(rng: np.random.Generator, mean_and_sd: tuple[float, float]) -> float:
    """A normal draw, no further than two standard deviations off."""
    mean, sd = mean_and_sd
    return mean + sd * float(np.clip(rng.standard_normal(), -2, 2))


def _make_rhythm(rng: np.random.Generator, kind: RhythmKind, min_active_share: float) -> Rhythm:
    share = 1 / (1 + math.exp(-_near(rng, kind.logit_share)))
    family: GapFamily = "weibull" if rng.random() < kind.weibull_share else "gamma"
    return Rhythm(
        mean_rps=SCALE * math.exp(_near(rng, kind.log_rate)),
        active_share=max(share, min_active_share),
        on_windows=max(1.0, math.exp(_near(rng, kind.log_on_windows))),
        level_sd=max(0.1, _near(rng, kind.level_sd)),
        level_rho=kind.level_rho,
        day_shape=_pick(rng, kind.day_weights),
        gaps=Gaps.of_cv(family, math.exp(_near(rng, kind.log_cv))),
    )


def _make_use(rng: np.random.Generator, provider: str, env: str) -> Use:
    known = PROVIDERS[provider]
    tokens = TOKEN_SHAPES[_pick(rng, [shape.weight for shape in TOKEN_SHAPES])]
    main = float(rng.uniform(0.75, 0.98))
    first, second = [(known.small, known.middle), (known.middle, known.small), (known.large, known.middle)][
        _pick(rng, (0.4, 0.45, 0.15))
    ]
    people = int(rng.integers(1, 4)) if env == "dev" else int(rng.integers(20, 300))
    # Provider caches begin at about a thousand tokens.
    caches = tokens.input_tokens[4] >= 1000 or (tokens.input_tokens[4] >= 500 and rng.random() < 0.3)
    return Use(
        provider=provider,
        endpoint=known.endpoint,
        models=((first, main), (second, 1 - main)),
        tokens=tokens,
        origins=_make_origins(rng, env),
        user_agents=_AGENTS[provider] if env == "dev" else (_AGENTS[provider][rng.integers(2)],),
        user_ids=tuple(f"user-{number:05d}" for number in rng.integers(0, 100_000, people).tolist()),
        fruitless=_FRUITLESS,
        input_factor=float(rng.lognormal(0, 0.2)),
        output_factor=float(rng.lognormal(0, 0.2)),
        cached_share=float(rng.beta(4, 2)) if caches else 0.0,
    )


def _make_origins(rng: np.random.Generator, env: str) -> tuple[Origin, ...]:
    """Addresses of the benchmarking range 198.18.0.0/15, numbers of the private range: they name nobody real."""
    country = _COUNTRIES[_pick(rng, (5, 2, 1, 1, 1))]
    asn = 4_200_000_000 + int(rng.integers(20))
    if env == "dev":  # an office and a few homes
        return tuple(_origin(rng, country, asn + 100 * place, 1)[0] for place in range(int(rng.integers(2, 6))))
    hosts = int(rng.integers(2, 9))
    networks = int(rng.integers(1, 4))
    return tuple(origin for _ in range(networks) for origin in _origin(rng, country, asn, hosts))


def _origin(rng: np.random.Generator, country: str, asn: int, hosts: int) -> list[Origin]:
    network = int(rng.integers(512))
    prefix = f"198.{18 + network // 256}.{network % 256}"
    last = rng.choice(np.arange(1, 255), hosts, replace=False).tolist()
    return [Origin(f"{prefix}.{host}", country, asn) for host in last]
