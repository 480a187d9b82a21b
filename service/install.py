"""One install: its configuration folder, its secrets, its pure parts. The root of the composition."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from pydantic import SecretStr

from containment.minters.build import KINDS as MINTED_BY
from containment.providers.base import StepsOf
from containment.providers.build import steps_by_key
from controls.heirs import Responses
from controls.people import People
from controls.policies import Policies
from controls.registry import Registry
from detectors.breaches import Watch
from schemas.config import KeysConfig, ResponsesConfig
from schemas.config.wiring import ProviderConfig
from schemas.exception import PolicyException
from schemas.fingerprint import Fingerprinter
from schemas.records import KeyFacts
from schemas.signing import Signer
from schemas.spend import BudgetStatus
from service.config_folder import Folder, FolderWatch
from service.errors import UserError
from service.folder_reader import load_beside
from service.secrets import COMMANDS_KEY, create_pepper, create_signing_key, load_pepper, load_signer, resolve
from sources.batch import BatchParser
from sources.pricing import PriceBook
from storage.client import open_store
from storage.store import Store
from streams.audit import Sealing
from streams.contain_gate import Trust
from streams.kafka import EMBEDDED, Timing
from streams.newest_records import NewestRecords
from streams.topics import Topics

log = structlog.get_logger()


def wall_ms() -> int:
    """The wall clock, read here and handed down as an argument."""
    return time.time_ns() // 1_000_000


@dataclass
class Install:
    """Everything that configuration decides."""

    folder: Folder
    config_dir: Path
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    watch: FolderWatch | None = None
    """Tells of changes since the folder was read; None for settings that come from no folder."""
    registry: Registry = field(default_factory=lambda: Registry(KeysConfig()))
    """keys.yaml, and what `keyfuse.keys` said since of keys that were issued or changed: see `streams/keys.py`."""
    ordering: bool = True
    """False: this process has no key to sign orders with, so it orders no credentials."""
    standing: NewestRecords[BudgetStatus] = field(default_factory=lambda: NewestRecords(BudgetStatus))
    """Where each budget stands, as far as this process follows it."""
    exceptions: tuple[PolicyException, ...] = ()
    """The newest version of each, as `keyfuse.exceptions` has them."""
    handed_on: Responses = field(default_factory=Responses, repr=False)

    def __post_init__(self) -> None:
        self._read(self.folder)

    def except_for(self, exceptions: Iterable[PolicyException]) -> None:
        """These exceptions and no others from now on."""
        self.exceptions = tuple(exceptions)
        self.policies = Policies(self.folder.policies, self.exceptions)

    def reload(self, folder: Folder) -> None:
        """Take a new, valid folder. What is wired at the start (broker, store, channels, providers) stays."""
        self.folder = folder
        self._read(folder)

    async def reload_beside(self, folder: Folder) -> None:
        """The same while a loop goes on: a hundred thousand keys are worked out in a thread, and taken at once."""
        records, since = self.registry.parting()
        registry = await asyncio.to_thread(Registry, folder.keys, records)
        for record in since:
            registry.take(record)
        self.folder = folder
        self._rule_by(folder, registry)

    def _read(self, folder: Folder) -> None:
        self._rule_by(folder, Registry(folder.keys, self.registry.records()))

    def _rule_by(self, folder: Folder, registry: Registry) -> None:
        self.registry = registry
        self.policies = Policies(folder.policies, self.exceptions)
        self.people = People(folder.people)

    @classmethod
    def open(cls, config_dir: Path) -> Install:
        """ConfigErrors with all mistakes at once; a missing folder means the defaults."""
        watch = FolderWatch(config_dir, read_again=load_beside)
        return cls(watch.current, config_dir, watch=watch)

    @property
    def responses(self) -> ResponsesConfig:
        """`responses.yaml`; what it says of a key holds for those that took over from it, too."""
        return self.handed_on.of(self.folder.responses, self.registry)

    @property
    def data_dir(self) -> Path:
        return Path(self.folder.wiring.data_dir)

    @property
    def timing(self) -> Timing:
        kafka = self.folder.wiring.kafka
        return EMBEDDED if kafka.bootstrap == "embedded" else Timing(kafka.session_timeout_s, kafka.fetch_wait_ms)

    @property
    def topics(self) -> Topics:
        kafka = self.folder.wiring.kafka
        return Topics(kafka.topic_prefix, kafka.partitions)

    def intake_token(self) -> SecretStr:
        """From the environment, else the one this install made for itself."""
        env = self.folder.wiring.intake.token_env
        file = self.data_dir / "intake-token"
        create_pepper(file)  # as random, as private, and kept when it exists
        token = resolve(env if env in self.environ else "", str(file), environ=self.environ, what="intake token")
        assert token is not None  # noqa: S101 - the file is named
        return token

    def query_token(self) -> SecretStr:
        """Of the commands that ask a worker of this machine what is stored: who sends events must not read evidence."""
        file = self.data_dir / "query-token"
        create_pepper(file)
        token = resolve("", str(file), environ=self.environ, what="query token")
        assert token is not None  # noqa: S101 - the file is named
        return token

    def requests_token(self) -> SecretStr:
        """Of whoever asks for keys over HTTP: their own, else that of the commands of this machine."""
        env = self.folder.wiring.key_requests.token_env
        return resolve(env, "", environ=self.environ, what="key requests token") or self.query_token()

    def leaks_token(self) -> SecretStr:
        """Of whoever reports leaks: their own, else the intake's."""
        env = self.folder.wiring.leaks.token_env
        return resolve(env, "", environ=self.environ, what="leaks token") or self.intake_token()

    def fingerprinter(self) -> Fingerprinter:
        wiring = self.folder.wiring
        return Fingerprinter(load_pepper(wiring.pepper_env, wiring.pepper_file, environ=self.environ))

    def open_store(self) -> Store:
        """Raises StoreError when it does not answer or refuses us."""
        wiring = self.folder.wiring.store
        password = resolve(wiring.password_env, "", environ=self.environ, what="store")
        return open_store(wiring.dsn, password=password)

    def signer(self) -> Signer | None:
        """Who signs heads of the audit and archives of incidents; None without a key in keyfuse.yaml."""
        evidence = self.folder.wiring.evidence
        env, file = evidence.signing_key_env, evidence.signing_key_file
        return load_signer(env, file, environ=self.environ, what="signing key", section="evidence")

    def order_signer(self, *, make: bool) -> Signer:
        """Who signs the orders to contain.

        Args:
            make: Make a key where none is. Only where contain runs in the same process: another would not know it.

        Raises:
            UserError: there is no key, or it is none.
        """
        commands, what = self.folder.wiring.commands, "key that signs commands"
        env, file = commands.signing_key_env, commands.signing_key_file
        if not env and not file:
            file = str(self.data_dir / COMMANDS_KEY)
            if make:
                create_signing_key(Path(file))
        if file and env not in self.environ and not Path(file).exists():
            words = f"{file} does not exist; `keyfuse init` makes one in a new data_dir, so does `openssl genpkey"
            raise UserError(f"{what}: {words} -algorithm ed25519 -out {file}`; see commands in keyfuse.yaml")
        signer = load_signer(env, file, environ=self.environ, what=what, section="commands")
        assert signer is not None  # noqa: S101 - one of the two is named
        return signer

    def order_signer_if_any(self) -> Signer | None:
        """The same where it can be done without: who has no key orders no credentials."""
        try:
            return self.order_signer(make=False)
        except UserError as error:
            self.ordering = False
            log.warning("no credentials of providers are issued from here", why=str(error))
            return None

    def order_keys(self) -> frozenset[str]:
        """The public keys that sign orders, as far as this machine knows; empty where it does not."""
        try:
            return frozenset(self.folder.wiring.commands.public_keys or [self.order_signer(make=False).public_key])
        except UserError:
            return frozenset()

    def trust(self, *, own: str) -> Trust:
        """Whose orders the contain stage believes; `own` is the key of decide in the same process, empty when alone.

        Raises:
            UserError: there would be nobody, or the orders of this very process would be refused.
        """
        commands = self.folder.wiring.commands
        keys = frozenset(commands.public_keys or ([own] if own else []))
        if not keys:
            raise UserError(
                "contain believes signed orders only, and knows no key: put what `keyfuse check` shows where decide "
                "runs into commands.public_keys in keyfuse.yaml"
            )
        if own and own not in keys:
            raise UserError(f"commands.public_keys in keyfuse.yaml lacks {own}, which decide signs with here: add it")
        return Trust(keys, commands.max_age_s)

    def sealing(self) -> Sealing:
        return Sealing(self.signer(), self.folder.wiring.evidence.head_every_s)

    def parser(self, *, max_future_s: int | None = None) -> BatchParser:
        return BatchParser(fingerprinter=self.fingerprinter(), prices=PriceBook(), max_future_s=max_future_s)

    def acting(self) -> dict[str, ProviderConfig]:
        """Who can act on keys: the providers of keyfuse.yaml, and on keys that are issued here the gates, which need no
        setting for it: a key that nobody can cut must not be the easiest to get.
        """
        return {self.folder.keys.issuing.provider: ProviderConfig(kind="gate"), **self.folder.wiring.providers}

    def offered(self) -> dict[str, StepsOf]:
        """Provider name → what it can do with a key, by the key's `provider_ref`."""
        return {name: steps_by_key(provider) for name, provider in self.acting().items()}

    def facts_of(self, key_id: str) -> KeyFacts | None:
        return self.registry.facts_of(key_id)

    def forbidden(self, key_id: str, facts: KeyFacts, model: str) -> str | None:
        return self.policies.forbidden(key_id, facts, model)

    def watch_of(self, key_id: str, facts: KeyFacts) -> Watch:
        """What policies forbid the key besides models, and the networks and countries of its own entry."""
        return self.policies.covering(key_id, facts, self.registry.entry(key_id))

    def registered(self) -> Collection[str]:
        """key_ids of keys.yaml."""
        return self.registry.all_facts()

    def minting(self) -> dict[str, str]:
        """Providers of keyfuse.yaml that can make credentials: name -> kind."""
        providers = self.folder.wiring.providers.items() if self.ordering else ()
        return {name: one.kind for name, one in providers if one.kind in MINTED_BY}


@dataclass(frozen=True)
class Running:
    """Where a running `keyfuse up` can be found: what the other commands of the same folder talk to."""

    bootstrap: str
    url: str
    pid: int

    @staticmethod
    def path(data_dir: Path) -> Path:
        return data_dir / "run.json"

    def write(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.path(data_dir).write_text(json.dumps(self.__dict__))

    @classmethod
    def find(cls, data_dir: Path) -> Running | None:
        """None when nothing runs, or what ran is gone."""
        try:
            found = cls(**json.loads(cls.path(data_dir).read_text()))
            os.kill(found.pid, 0)
        except (OSError, ValueError, TypeError):
            return None
        return found
