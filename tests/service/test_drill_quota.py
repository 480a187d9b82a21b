"""An app walked to its stop, in small."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from controls.registry import Registry
from schemas.config import KeysConfig
from schemas.config.budgets import BudgetConfig, BudgetsConfig, DegradeConfig
from schemas.config.keys import KeyConfig
from schemas.key_record import KeyRecord
from service.config_tree import Folder
from service.drill_quota import Drill, main, walk
from service.errors import UserError
from storage.client import open_store
from storage.migrate import migrate
from storage.rows import record_row
from storage.testing import fresh_dsn

KEY = KeyConfig(key_id="k1", provider="openai", team="search", app="shop")
TIGHT = DegradeConfig(at_percent=80, models={"gpt-4.1": "gpt-4.1-mini"}, apps=("shop",), approved_by="ana")
REAL = BudgetConfig(name="shop", usd=5000, apps=("shop",), hard_stop=True, owner="ana", degrade=TIGHT)


async def drilled(*budgets: BudgetConfig, app: str = "shop", issued: Sequence[KeyRecord] = ()) -> Drill:
    folder = Folder(keys=KeysConfig(keys=(KEY,)), budgets=BudgetsConfig(budgets=budgets))
    return await walk(folder, Registry(folder.keys, issued), app=app, model="gpt-4.1", calls=10)


def issued(key_id: str, app: str = "cart", **changes: Any) -> KeyRecord:
    """A key that is in no file."""
    entry = KeyConfig(key_id=key_id, provider="openai", app=app).record()
    return entry.model_copy(update={"seq": 1, "kind": "virtual", **changes})


async def test_the_client_passes_is_moved_to_the_cheaper_model_and_is_stopped() -> None:
    drill = await drilled(REAL)
    assert (drill.first.status, drill.first.model) == (200, "")
    assert drill.degraded is not None
    assert drill.degraded.model == "gpt-4.1-mini"
    assert drill.stopped is not None
    assert drill.stopped.status == 403, "SDKs try 429 again, and this is over"
    assert "budget shop" in drill.stopped.message
    assert "ask ana" in drill.stopped.message
    assert drill.passed >= 10


async def test_an_app_that_nothing_stops_and_one_that_nobody_knows_are_errors() -> None:
    with pytest.raises(UserError, match="no budget with hard_stop covers app shop"):
        await drilled(REAL.model_copy(update={"hard_stop": False}))
    with pytest.raises(UserError, match=r"no key of app shpo is served: name one of cart, shop"):
        await drilled(REAL, app="shpo", issued=[issued("k2"), issued("k3", "old", state="retired")])


async def test_the_app_of_a_key_that_was_issued_is_walked_with_one_that_is_served() -> None:
    of_cart = REAL.model_copy(update={"name": "cart", "apps": ("cart",)})
    keys = [issued("k2", state="pending"), issued("k3", expires_ms=1), issued("k4")]
    drill = await drilled(REAL, of_cart, app="cart", issued=keys)
    assert (drill.budget.name, drill.first.status) == ("cart", 200)
    assert drill.stopped is not None
    assert "budget cart" in drill.stopped.message
    with pytest.raises(UserError, match="no key of app cart is served"):
        await drilled(of_cart, app="cart", issued=keys[:2])


def test_keys_that_the_store_has_are_known_where_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "keyfuse.d"
    config.mkdir()
    dsn = fresh_dsn()
    (config / "keyfuse.yaml").write_text(f"data_dir: {tmp_path}\nstore: {{dsn: '{dsn}'}}\n")
    (config / "budgets.yaml").write_text("budgets: [{name: cart, apps: [cart], usd: 5000, hard_stop: true}]\n")
    store = open_store(dsn)
    migrate(store, retention_days=36_500)
    table, row = record_row(issued("k2"))
    store.insert_records(table, [row])
    store.close()
    main(config, app="cart", model="gpt-4.1", calls=5)
    assert "cart under budget cart" in capsys.readouterr().out
