"""The admin keys are the contain worker's: nobody else reads them, or needs them to be there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from schemas.config import WiringConfig
from schemas.config.wiring import IntakeConfig, KafkaConfig, ProviderConfig, StoreConfig, SwitchConfig, VaultConfig
from service.config_tree import Folder
from service.errors import UserError
from service.install import Install
from service.worker import ROLES, Worker
from storage.testing import fresh_dsn
from tests.brokers import Broker

ADMIN_KEYS = {"OPENAI_ADMIN", "VAULT_TOKEN_OF_CONTAIN", "SWITCH_SECRET"}


class Watched(Mapping[str, str]):
    """An environment that knows what was looked up in it."""

    def __init__(self, values: dict[str, str]) -> None:
        self._values, self.asked = values, set[str]()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def an_install(broker: Broker, prefix: str, directory: Path, environ: Mapping[str, str]) -> Install:
    providers = {
        "by-variable": ProviderConfig(kind="openai", secret_env="OPENAI_ADMIN"),
        "by-file": ProviderConfig(kind="openai", secret_file=str(directory / "no-such-file")),
        "by-vault": ProviderConfig(kind="openai", secret_vault="kv/keyfuse/openai#key"),
    }
    wiring = WiringConfig(
        data_dir=str(directory), store=StoreConfig(dsn=fresh_dsn()), intake=IntakeConfig(port=0), providers=providers,
        switches={"ours": SwitchConfig(kind="webhook", base_url="http://127.0.0.1:9", secret_env="SWITCH_SECRET")},
        kafka=KafkaConfig(bootstrap=broker.bootstrap, topic_prefix=prefix, partitions=1, session_timeout_s=2),
        vault=VaultConfig(address="http://127.0.0.1:9", token_env="VAULT_TOKEN_OF_CONTAIN"),
    )  # fmt: skip
    return Install(Folder(wiring=wiring), directory, environ)


async def test_every_other_role_starts_without_admin_keys_and_looks_for_none(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    environ = Watched({"KEYFUSE_PEPPER": "p", "KEYFUSE_INTAKE_TOKEN": "t"})
    install = an_install(tansu_broker, prefix, tmp_path, environ)
    install.order_signer(make=True)
    worker = Worker(install, tansu_broker.bootstrap, [role for role in ROLES if role != "contain"])
    try:
        await worker.start()
    finally:
        await worker.stop()
    assert "KEYFUSE_PEPPER" in environ.asked
    assert not environ.asked & ADMIN_KEYS


async def test_the_contain_worker_needs_them_and_a_key_to_believe(
    tansu_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    for own, words in ((True, "provider by-variable: the environment variable OPENAI_ADMIN"), (False, "public_keys")):
        install = an_install(tansu_broker, prefix, tmp_path, {})
        worker = Worker(install, tansu_broker.bootstrap, ("decide", "contain") if own else ("contain",))
        with pytest.raises(UserError, match=words):
            await worker.start()
        await worker.stop()
        assert worker.url == ""
