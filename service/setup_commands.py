"""`init`, `check`, `migrate`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from rich.console import Console

from service.config_folder import load_folder, write_templates
from service.errors import UserError
from service.install import Install, Running
from storage.errors import StoreError
from storage.migrate import migrate as apply_migrations
from storage.store import Store

_UNKNOWN_TABLE: Final = 60  # ClickHouse's code


def init(config: Path, *, force: bool, out: Console) -> None:
    """Write the templates and say what comes next."""
    for path in write_templates(config, force=force):
        out.print(f"wrote {path}", markup=False)
    option = "" if config == Path("keyfuse.d") else f" --config {config}"
    out.print(
        f"\nMode is `observe`: Keyfuse says what it would do and does nothing.\n"
        f"Next: name your keys in {config / 'keys.yaml'}, then `keyfuse check{option}` and `keyfuse up{option}`.",
        markup=False,
    )


def check(config: Path, *, out: Console) -> None:
    """All errors at once, or a sentence that says what is configured."""
    if not config.is_dir():
        raise UserError(f"{config}: no such folder; `keyfuse init --config {config}` makes one")
    folder = load_folder(config)
    out.print(
        f"{config}: valid. {len(folder.keys.keys)} keys, {len(folder.policies.policies)} policies, "
        f"{len(folder.routes.channels)} channels, mode {folder.responses.mode}",
        markup=False,
    )
    with contextlib.suppress(UserError):  # only where decide runs there is a key, and nobody else needs one
        signer = Install(folder, config).order_signer(make=False)
        out.print(f"commands are signed here by {signer.public_key}", markup=False)


def migrate(config: Path, *, out: Console) -> None:
    """Apply what is missing."""
    install = Install.open(config)
    wiring = install.folder.wiring
    if wiring.store.dsn.startswith("chdb:") and Running.find(install.data_dir) is not None:
        # The embedded store belongs to one process at a time.
        raise UserError(f"`keyfuse up` runs in {install.data_dir} and migrated the store when it started")
    store = connect(install)
    try:
        applied = apply_migrations(store, retention_days=wiring.store.retention_days)
    except StoreError as error:
        raise UserError(f"the store cannot be migrated: {error}") from error
    finally:
        store.close()
    out.print("\n".join(f"applied {name}" for name in applied) or "the store is up to date")


def no_answer(error: StoreError) -> UserError:
    """What to say of a store that refuses a question."""
    if error.code == _UNKNOWN_TABLE:
        return UserError(
            "the store lacks a table: nothing ran here yet, or an older version did; `keyfuse up` or `keyfuse migrate` "
            "makes it"
        )
    return UserError(str(error))


def connect(install: Install) -> Store:
    """The store of this install; UserError when it does not answer."""
    try:
        return install.open_store()
    except StoreError as error:
        raise UserError(f"{error}; check store.dsn in keyfuse.yaml") from error
