"""Turns "who, when" into native events: models, lengths, origins, outcomes drawn column by column, then dicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sources.simulator.arrivals import Floats, Ints
from sources.simulator.keys import SimKey
from sources.simulator.prices import MAX_INPUT_TOKENS, MAX_OUTPUT_TOKENS, REASONING, unit_prices
from sources.simulator.sampling import Choices, Lists, draw_tokens, scattered
from sources.simulator.use import CACHEABLE, Fruitless, Use, token_table

Event = dict[str, Any]
ROWS_AT_ONCE: Final = 20_000  # dicts are made from columns in slices of this many, which bounds memory

_FIRST_TOKEN_MS: Final = 350.0
_MS_PER_OUTPUT_TOKEN: Final = 12.0
_REFUSAL_MS: Final = 60.0
_MOST_REASONING: Final = 0.6  # of the output, in models that think aloud


@dataclass(frozen=True)
class Speaker:
    """A key in somebody's hands: its owner's use of it, or a thief's."""

    key: SimKey
    use: Use


@dataclass(frozen=True)
class _Drawn:
    """Columns of one slice of requests. Positions point into the tables of Voices."""

    who: Ints
    model: Ints
    fruitless: Ints  # -1 where it worked
    asked: Ints
    cached: Ints
    written: Ints
    answered: Ints
    reasoning: Ints
    latency_ms: Floats
    origin: Ints
    agent: Ints
    user: Ints

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """What one dict is made of, in the order of Voices._rows."""
        drawn = (self.who, self.model, self.asked, self.cached, self.written, self.answered, self.reasoning)
        columns = (*drawn, self.latency_ms, self.origin, self.agent, self.user)
        return zip(*[column.tolist() for column in columns], strict=True)


class Voices:
    """The tables of many speakers, built once, from which their requests are drawn."""

    def __init__(self, speakers: Sequence[Speaker], *, id_salt: int, priced: bool = False) -> None:
        uses = [speaker.use for speaker in speakers]
        self._facts = [_facts(speaker) for speaker in speakers]
        self._id_salt = id_salt
        self._sent = 0
        self._priced = priced or any(speaker.key.report_as for speaker in speakers)
        self._input = _log_table([(use.tokens.input_tokens, use.input_factor) for use in uses], MAX_INPUT_TOKENS)
        self._output = _log_table([(use.tokens.output_tokens, use.output_factor) for use in uses], MAX_OUTPUT_TOKENS)
        self._models = Choices([use.models for use in uses])
        self._fruitless: Choices[Fruitless] = Choices([[(one, one.share) for one in use.fruitless] for use in uses])
        self._origins = Lists([use.origins for use in uses])
        self._agents = Lists([use.user_agents for use in uses])
        self._users = Lists([use.user_ids for use in uses])
        self._cached_share = np.array([use.cached_share for use in uses])
        self._writes_cache = np.array([use.writes_cache for use in uses])
        self._reasons = np.array([model in REASONING for model in self._models.values])
        prices = [unit_prices(use.provider, model) for use in uses for model, _ in use.models]
        self._prices = np.array([[one.input, one.cached_input, one.cache_write, one.output] for one in prices])

    def events(self, who: Ints, ts_ms: Ints, rng: np.random.Generator) -> Iterator[Event]:
        """One event for each request, in time order. `who` counts speakers, `ts_ms` may be in any order."""
        order = np.argsort(ts_ms, kind="stable")
        who, ts_ms = who[order], ts_ms[order]
        for start in range(0, len(who), ROWS_AT_ONCE):
            now = slice(start, start + ROWS_AT_ONCE)
            drawn = self._draw(who[now], rng)
            rows = self._rows(drawn, ts_ms[now])
            self._write_fruitless(rows, drawn)
            if self._priced:
                for row, cost in zip(rows, self._cost_usd(drawn).tolist(), strict=True):
                    row["cost_usd"] = cost
            yield from rows

    def _draw(self, who: Ints, rng: np.random.Generator) -> _Drawn:
        model = self._models.draw(who, rng)
        fruitless = self._fruitless.draw(who, rng)
        worked = fruitless < 0
        asked = draw_tokens(self._input, who, rng) * worked
        answered = draw_tokens(self._output, who, rng) * worked
        hit = rng.random(len(who)) < self._cached_share[who]
        repeated = (CACHEABLE * asked).astype(np.int64)
        thought = _MOST_REASONING * rng.random(len(who)) * self._reasons[model]
        latency = np.where(worked, _FIRST_TOKEN_MS + _MS_PER_OUTPUT_TOKEN * answered, _REFUSAL_MS)
        return _Drawn(
            who=who,
            model=model,
            fruitless=fruitless,
            asked=asked,
            cached=repeated * hit,
            written=repeated * (~hit & self._writes_cache[who]),
            answered=answered,
            reasoning=(answered * thought).astype(np.int64),
            latency_ms=np.round(latency * np.exp(0.3 * rng.standard_normal(len(who))), 1),
            origin=self._origins.draw(who, rng),
            agent=self._agents.draw(who, rng),
            user=self._users.draw(who, rng),
        )

    def _rows(self, drawn: _Drawn, ts_ms: Ints) -> list[Event]:
        ids = scattered(np.arange(self._sent, self._sent + len(ts_ms)), self._id_salt)
        self._sent += len(ts_ms)
        facts, models, origins = self._facts, self._models.values, self._origins.values
        agents, users = self._agents.values, self._users.values
        return [
            {
                "event_id": f"req_{number:016x}",
                "ts": ts,
                **facts[who],
                "model": models[model],
                "input_tokens": asked,
                "cached_input_tokens": cached,
                "cache_write_tokens": written,
                "output_tokens": answered,
                "reasoning_tokens": reasoning,
                "latency_ms": latency_ms,
                "ip": origins[origin].ip,
                "country": origins[origin].country,
                "asn": origins[origin].asn,
                "user_agent": agents[agent],
                "user_id": users[user],
            }
            for number, ts, (
                who,
                model,
                asked,
                cached,
                written,
                answered,
                reasoning,
                latency_ms,
                origin,
                agent,
                user,
            ) in zip(ids, ts_ms.tolist(), drawn.rows(), strict=True)
        ]

    def _write_fruitless(self, rows: list[Event], drawn: _Drawn) -> None:
        for at in np.flatnonzero(drawn.fruitless >= 0).tolist():
            fruitless = self._fruitless.values[drawn.fruitless[at]]
            rows[at]["status"], rows[at]["error"] = fruitless.status, fruitless.error
            if fruitless.endpoint:
                rows[at]["endpoint"] = fruitless.endpoint

    def _cost_usd(self, drawn: _Drawn) -> Floats:
        plain = drawn.asked - drawn.cached - drawn.written
        tokens = np.stack([plain, drawn.cached, drawn.written, drawn.answered], axis=1)
        usd: Floats = (tokens * self._prices[drawn.model]).sum(axis=1).round(9)
        return usd


def _log_table(quantiles: Sequence[tuple[tuple[float, ...], float]], cap: float) -> Floats:
    table: Floats = np.log(np.array([token_table(values, factor, cap) for values, factor in quantiles]))
    return table


def _facts(speaker: Speaker) -> Event:
    """What is the same in every event of a speaker."""
    key = speaker.key
    name = {"key_id": key.key_id} if key.secret is None else {"key": key.secret.get_secret_value()}
    return {
        **name,
        "provider": key.report_as or key.provider,
        "endpoint": speaker.use.endpoint,
        "requests": 1,
        "status": 200,
        "team": key.team,
        "app": key.app,
        "env": key.env,
    }
