"""Made-up keys: repeatable, varied, and as a population like the clients of the trace."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network

import numpy as np
import pytest

from sources.simulator.fitted import DAY_SHAPES, RHYTHM_KINDS, TOKEN_PROBABILITIES, TOKEN_SHAPES
from sources.simulator.keys import SCALE, SimKey, make_keys, with_monthly_usd
from tests.traces import columns_of, needs


@pytest.fixture(scope="module")
def many() -> list[SimKey]:
    return make_keys(600, seed=7)


def test_the_seed_decides_and_the_first_keys_do_not_depend_on_how_many_follow() -> None:
    assert make_keys(5, seed=1) == make_keys(9, seed=1)[:5]
    assert make_keys(5, seed=1) != make_keys(5, seed=2)


def test_keys_have_their_own_names_and_several_teams_environments_and_providers(many: list[SimKey]) -> None:
    assert len({key.key_id for key in many}) == len(many)
    assert len({key.team for key in many}) == 5
    assert {key.env for key in many} == {"prod", "staging", "dev"}
    assert {key.provider for key in many} == {"openai", "anthropic", "google"}


def test_the_provider_mix_is_followed() -> None:
    counts = Counter(key.provider for key in make_keys(400, seed=1, provider_mix={"openai": 3, "google": 1}))
    assert counts["openai"] / 400 == pytest.approx(0.75, abs=0.06)
    assert counts["anthropic"] == 0


def test_an_unknown_provider_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="acme"):
        make_keys(1, seed=1, provider_mix={"acme": 1})


def test_addresses_belong_to_nobody(many: list[SimKey]) -> None:
    reserved = ip_network("198.18.0.0/15")
    assert all(ip_address(origin.ip) in reserved for key in many for origin in key.use.origins)


def test_monthly_spend_is_what_was_asked_for(many: list[SimKey]) -> None:
    for key in many[:20]:
        assert with_monthly_usd(key, 180.0).normal_usd_per_month == pytest.approx(180.0)


def test_kinds_come_in_their_fitted_shares_with_their_fitted_means(many: list[SimKey]) -> None:
    for kind in RHYTHM_KINDS:
        of_kind = [key.rhythm for key in many if key.kind == kind.name]
        assert len(of_kind) / len(many) == pytest.approx(kind.weight, abs=0.05)
        mean_log_rate = np.mean([np.log(rhythm.mean_rps / SCALE) for rhythm in of_kind])
        assert mean_log_rate == pytest.approx(kind.log_rate[0], abs=0.5)


def test_the_fitted_figures_are_well_formed() -> None:
    assert sum(kind.weight for kind in RHYTHM_KINDS) == pytest.approx(1, abs=0.01)
    assert sum(shape.weight for shape in TOKEN_SHAPES) == pytest.approx(1, abs=0.01)
    for day in DAY_SHAPES:
        assert len(day) == 24
        assert np.mean(day) == pytest.approx(1, abs=0.01)
    for shape in TOKEN_SHAPES:
        for quantiles in (shape.input_tokens, shape.output_tokens):
            assert len(quantiles) == len(TOKEN_PROBABILITIES)
            assert list(quantiles) == sorted(quantiles)


@needs("servegen")
def test_the_population_is_like_the_clients_of_the_trace(many: list[SimKey]) -> None:
    """Medians and quartiles over keys against those over the 205 clients."""
    rates = columns_of("servegen/rates.csv.gz")
    name = np.char.add(rates["pool"].astype(str), rates["client"].astype(str))
    _, client, windows = np.unique(name, return_inverse=True, return_counts=True)
    mean_rate = np.bincount(client, rates["rate_rps"]) / windows
    median_cv = [np.median(rates["cv"][client == one]) for one in range(len(windows))]
    ours_cv = [key.rhythm.gaps.shape**-0.5 for key in many if key.rhythm.gaps.family == "gamma"]
    shares = [key.rhythm.active_share for key in many]
    for quantile in (0.25, 0.5, 0.75):
        log_ratio = np.log(
            np.quantile([key.rhythm.mean_rps / SCALE for key in many], quantile) / np.quantile(mean_rate, quantile)
        )
        assert abs(log_ratio) < 0.5
        assert np.quantile(shares, quantile) == pytest.approx(np.quantile(windows / 2016, quantile), rel=0.5, abs=0.06)
    assert np.median(ours_cv) == pytest.approx(np.median(median_cv), rel=0.25)
