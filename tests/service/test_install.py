"""One install: its secrets come from where the configuration says, and what runs here can be found."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from schemas.config import KeysConfig, RoutesConfig, WiringConfig
from schemas.config.keys import KeyConfig
from schemas.config.routes import ChannelConfig
from schemas.config.wiring import CommandsConfig, IntakeConfig, KafkaConfig, LeaksConfig, ProviderConfig, SwitchConfig
from schemas.key_record import KeyRecord
from schemas.records import KeyFacts
from schemas.signing import Signer, private_key_from
from service.adapters import providers, switches
from service.channels import channels_of
from service.config_tree import Folder
from service.errors import UserError
from service.install import Install, Running
from streams.contain_gate import Trust


def an_install(directory: Path, *, environ: dict[str, str] | None = None, **wiring: object) -> Install:
    data = {"data_dir": str(directory), "pepper_file": str(directory / "pepper")} | wiring
    return Install(Folder(wiring=WiringConfig.model_validate(data)), directory, environ or {})


def test_a_missing_folder_means_the_defaults(tmp_path: Path) -> None:
    assert Install.open(tmp_path / "none").folder == Folder()


def test_the_intake_token_is_made_once_private_and_kept(tmp_path: Path) -> None:
    token = an_install(tmp_path).intake_token().get_secret_value()
    assert len(token) >= 32
    assert an_install(tmp_path).intake_token().get_secret_value() == token
    assert (tmp_path / "intake-token").stat().st_mode & 0o077 == 0


def test_who_sends_events_cannot_ask_what_is_stored(tmp_path: Path) -> None:
    token = an_install(tmp_path).query_token().get_secret_value()
    assert len(token) >= 32
    assert an_install(tmp_path).query_token().get_secret_value() == token
    assert token != an_install(tmp_path).intake_token().get_secret_value()
    assert (tmp_path / "query-token").stat().st_mode & 0o077 == 0


def test_a_token_in_the_environment_goes_first(tmp_path: Path) -> None:
    install = an_install(tmp_path, environ={"TOKEN": "given"}, intake=IntakeConfig(token_env="TOKEN"))
    assert install.intake_token().get_secret_value() == "given"


def test_leak_reports_have_the_intakes_token_or_one_of_their_own(tmp_path: Path) -> None:
    environ = {"TOKEN": "given", "LEAKS": "another"}
    shared = an_install(tmp_path, environ=environ, intake=IntakeConfig(token_env="TOKEN"))
    own = an_install(
        tmp_path, environ=environ, intake=IntakeConfig(token_env="TOKEN"), leaks=LeaksConfig(token_env="LEAKS")
    )
    assert [one.leaks_token().get_secret_value() for one in (shared, own)] == ["given", "another"]
    with pytest.raises(UserError, match="variable GONE is not set"):
        an_install(tmp_path, leaks=LeaksConfig(token_env="GONE")).leaks_token()


def test_without_a_pepper_no_key_can_be_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`keyfuse init` makes one"):
        an_install(tmp_path).fingerprinter()


def test_the_pepper_names_the_keys(tmp_path: Path) -> None:
    one = an_install(tmp_path, environ={"KEYFUSE_PEPPER": "one"}).fingerprinter()
    other = an_install(tmp_path, environ={"KEYFUSE_PEPPER": "other"}).fingerprinter()
    assert one.of("secret") == one.of("secret") != other.of("secret")


@pytest.mark.parametrize(
    ("provider", "environ", "words"),
    [
        (ProviderConfig(kind="nope", secret_env="ADMIN"), {"ADMIN": "x"}, "providers.main: kind 'nope' is not one of"),
        (ProviderConfig(kind="openai"), {}, "providers.main: the admin key is missing"),
        (ProviderConfig(kind="openai", secret_env="ADMIN"), {}, "variable ADMIN is not set"),
        (ProviderConfig(kind="litellm", secret_env="ADMIN"), {"ADMIN": "x"}, "base_url is missing"),
    ],
)  # fmt: skip
def test_a_provider_that_cannot_work_is_a_sentence_for_people(
    tmp_path: Path, provider: ProviderConfig, environ: dict[str, str], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        providers(an_install(tmp_path, environ=environ, providers={"main": provider}))


async def test_a_provider_offers_its_steps(tmp_path: Path) -> None:
    provider = ProviderConfig(kind="sandbox", base_url="http://127.0.0.1:9", secret_env="ADMIN")
    install = an_install(tmp_path, environ={"ADMIN": "x"}, providers={"main": provider})
    assert install.offered()["main"]("key-1")["disable"].reversible
    built = providers(install)["main"]
    assert built.steps_of("key-1") == install.offered()["main"]("key-1")
    await built.close()


def test_the_key_that_signs_commands_is_made_once_private_and_kept(tmp_path: Path) -> None:
    install = an_install(tmp_path)
    signer = install.order_signer(make=True)
    assert install.order_signer(make=True).public_key == signer.public_key
    assert an_install(tmp_path).order_signer(make=False).public_key == signer.public_key
    assert (tmp_path / "commands.pem").stat().st_mode & 0o077 == 0
    assert install.trust(own=signer.public_key).public_keys == {signer.public_key}


def test_a_decide_worker_alone_makes_no_key_that_nobody_would_know(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"commands.pem does not exist; `keyfuse init` makes one"):
        an_install(tmp_path).order_signer(make=False)
    assert not (tmp_path / "commands.pem").exists()


def test_the_key_may_come_from_a_variable_or_another_file(tmp_path: Path) -> None:
    pem = private_key_from(b"k" * 32).get_secret_value()
    (tmp_path / "own.pem").write_text(pem)
    (tmp_path / "own.pem").chmod(0o600)
    expected = Signer(private_key_from(b"k" * 32)).public_key
    by_file = an_install(tmp_path, commands=CommandsConfig(signing_key_file=str(tmp_path / "own.pem")))
    by_env = an_install(tmp_path, environ={"KEY": pem}, commands=CommandsConfig(signing_key_env="KEY"))
    assert [one.order_signer(make=True).public_key for one in (by_file, by_env)] == [expected, expected]
    nowhere = an_install(tmp_path, commands=CommandsConfig(signing_key_env="KEY"))
    with pytest.raises(UserError, match="the environment variable KEY is not set"):
        nowhere.order_signer(make=True)  # who names one means that one
    nonsense = an_install(tmp_path, environ={"KEY": "pem"}, commands=CommandsConfig(signing_key_env="KEY"))
    with pytest.raises(UserError, match="no private key in PEM form"):
        nonsense.order_signer(make=False)


def test_a_contain_worker_without_a_public_key_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="put what `keyfuse check` shows"):
        an_install(tmp_path).trust(own="")


def test_the_keys_and_the_age_of_orders_are_settings(tmp_path: Path) -> None:
    one, two = "a" * 64, "b" * 64
    install = an_install(tmp_path, commands=CommandsConfig(public_keys=(one, two), max_age_s=60))
    trust = install.trust(own="")
    assert trust == Trust(frozenset({one, two}), 60)
    with pytest.raises(UserError, match=f"lacks {'c' * 64}, which decide signs with here"):
        install.trust(own="c" * 64)


def test_a_channel_without_its_secret_is_named(tmp_path: Path) -> None:
    channel = ChannelConfig(kind="slack", secret_env="SLACK", target="C1")
    install = Install(Folder(routes=RoutesConfig(channels={"ops": channel})), tmp_path, {})
    with pytest.raises(UserError, match="channel ops: the environment variable SLACK is not set"):
        channels_of(install)


@pytest.mark.parametrize(
    ("switch", "environ", "words"),
    [
        (SwitchConfig(kind="vault", base_url="https://v", secret_env="T"), {}, "switch kv: .* variable T is not set"),
        (SwitchConfig(kind="webhook", base_url="https://h", secret_env="T"), {"T": "whsec_"}, "switches.kv: .*sign"),
    ],
)
def test_a_switch_that_cannot_work_is_a_sentence_for_people(
    tmp_path: Path, switch: SwitchConfig, environ: dict[str, str], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        switches(an_install(tmp_path, environ=environ, switches={"kv": switch}))


async def test_a_switch_gets_its_own_secret(tmp_path: Path) -> None:
    config = SwitchConfig(kind="vault", base_url="https://v", secret_env="T")
    built = switches(an_install(tmp_path, environ={"T": "token"}, switches={"kv": config}))["kv"]
    assert built.name == "kv"
    await built.close()


def test_a_reload_changes_what_is_known_of_keys(tmp_path: Path) -> None:
    install = an_install(tmp_path)
    assert install.facts_of("key-1") is None
    install.reload(Folder(keys=KeysConfig(keys=(KeyConfig(key_id="key-1", provider="openai", team="search"),))))
    facts = install.facts_of("key-1")
    assert facts is not None
    assert facts.team == "search"


def test_topics_carry_the_prefix(tmp_path: Path) -> None:
    install = an_install(tmp_path, kafka=KafkaConfig(topic_prefix="a.", partitions=3))
    assert {spec.name[:2] for spec in install.topics.specs()} == {"a."}


def test_what_runs_is_found_until_it_is_gone(tmp_path: Path) -> None:
    assert Running.find(tmp_path) is None
    running = Running("127.0.0.1:9092", "http://127.0.0.1:8321", os.getpid())
    running.write(tmp_path / "new")
    assert Running.find(tmp_path / "new") == running
    Running("b", "u", 2**22 + 1).write(tmp_path / "new")
    assert Running.find(tmp_path / "new") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"bootstrap":"b","url":"u","pid":"x"}'])
def test_a_broken_note_is_no_note(tmp_path: Path, text: str) -> None:
    Running.path(tmp_path).write_text(text)
    assert Running.find(tmp_path) is None


def test_keys_that_are_issued_here_can_be_cut_without_a_setting_for_it(tmp_path: Path) -> None:
    key = "fp1:" + "0" * 32
    assert set(an_install(tmp_path).offered()["keyfuse"](key)) == {"throttle", "block"}
    named = an_install(tmp_path, providers={"keyfuse": ProviderConfig(kind="sandbox", base_url="http://127.0.0.1:9")})
    assert "disable" in named.offered()["keyfuse"](key)


async def test_what_is_said_of_a_key_while_the_folder_is_taken_holds_afterwards(tmp_path: Path) -> None:
    keys = KeysConfig(keys=(KeyConfig(key_id="key-1", provider="openai", team="search"),))
    install = Install(Folder(keys=keys), tmp_path)
    said = KeyRecord(
        key_id="key-2", seq=1, at_ms=0, by="ann", change="made", kind="virtual", state="active", provider="keyfuse",
        team="before",
    )  # fmt: skip
    install.registry.take(said)
    coming = asyncio.create_task(install.reload_beside(Folder(keys=keys)))
    await asyncio.sleep(0)
    install.registry.take(said.model_copy(update={"seq": 2, "team": "meanwhile"}))
    before = install.registry
    await coming
    assert install.registry is not before
    assert [install.registry.facts_of(key_id) for key_id in ("key-1", "key-2")] == [
        KeyFacts(provider="openai", team="search"), KeyFacts(provider="keyfuse", team="meanwhile"),
    ]  # fmt: skip
