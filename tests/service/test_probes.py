"""A key's own secret: found for its reference, read when needed, and said where it is missing, never what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from containment.probed import ProbedProvider
from containment.providers.memory import MemoryProvider
from schemas.config import KeysConfig
from schemas.config.keys import KeyConfig
from schemas.config.wiring import ProviderConfig
from service.probes import with_probe

OPENAI = ProviderConfig(kind="openai", base_url="http://127.0.0.1:9")  # nobody is there


async def looked(key: KeyConfig, ref: str, environ: dict[str, str]) -> str:
    """What a probe says, with one registered key."""
    provider = MemoryProvider("main", (ref,))
    probed = with_probe(provider, OPENAI, lambda: KeysConfig(keys=(key,)), environ=environ, timeout_s=1)
    seen = await probed.probe("disable", ref)
    await probed.close()
    assert seen
    return seen.words


@pytest.mark.parametrize(
    ("named", "ref"),
    [
        ({"key_id": "k1"}, "k1"),
        ({"key_id": "k1", "provider_ref": "proj_a/key_a"}, "proj_a/key_a"),
    ],
)
async def test_a_key_goes_by_its_reference_or_else_by_its_id(named: dict[str, str], ref: str) -> None:
    key = KeyConfig(provider="main", probe_secret_env="SHOP", **named)
    assert await looked(key, ref, {"SHOP": "sk-1"}) == "a call with the key: not made (ConnectError)"


@pytest.mark.parametrize(
    "key",
    [
        KeyConfig(key_id="k1", provider="another", probe_secret_env="SHOP"),
        KeyConfig(key_id="k2", provider="main", probe_secret_env="SHOP"),
        KeyConfig(key_id="k1", provider="main", provider_ref="r", probe_secret_env="SHOP"),
        KeyConfig(key_id="k1", provider="main"),
    ],
)
async def test_of_any_other_key_no_secret_is_taken(key: KeyConfig) -> None:
    assert await looked(key, "k1", {"SHOP": "sk-1"}) == "served"  # as the provider itself says


async def test_a_file_is_read_at_each_try(tmp_path: Path) -> None:
    file = tmp_path / "shop"
    key = KeyConfig(key_id="k1", provider="main", probe_secret_file=str(file))
    assert "shop cannot be read" in await looked(key, "k1", {})
    file.write_text("sk-1")
    file.chmod(0o644)
    assert "shop is open to everybody" in await looked(key, "k1", {})
    file.chmod(0o600)
    assert "ConnectError" in await looked(key, "k1", {})


async def test_a_variable_that_is_not_there_is_named() -> None:
    key = KeyConfig(key_id="k1", provider="main", probe_secret_env="SHOP")
    said = await looked(key, "k1", {})
    assert said == "no call with the key: probe secret of k1: the environment variable SHOP is not set"


def test_a_kind_without_a_call_is_left_as_it_is() -> None:
    provider = MemoryProvider("main", ())
    config = ProviderConfig(kind="sandbox", base_url="http://127.0.0.1:9")
    assert with_probe(provider, config, KeysConfig, environ={}, timeout_s=1) is provider


async def test_an_address_makes_one_for_any_kind() -> None:
    config = ProviderConfig(kind="sandbox", probe_url="http://127.0.0.1:9/models")
    probed = with_probe(MemoryProvider("main", ()), config, KeysConfig, environ={}, timeout_s=1)
    assert isinstance(probed, ProbedProvider)
    await probed.close()
