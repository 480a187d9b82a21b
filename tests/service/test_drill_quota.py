"""An app walked to its stop, in small."""

from __future__ import annotations

import pytest

from schemas.config import KeysConfig
from schemas.config.budgets import BudgetConfig, BudgetsConfig, DegradeConfig
from schemas.config.keys import KeyConfig
from service.config_tree import Folder
from service.drill_quota import walk
from service.errors import UserError

KEY = KeyConfig(key_id="k1", provider="openai", team="search", app="shop")
TIGHT = DegradeConfig(at_percent=80, models={"gpt-4.1": "gpt-4.1-mini"}, apps=("shop",), approved_by="ana")
REAL = BudgetConfig(name="shop", usd=5000, apps=("shop",), hard_stop=True, owner="ana", degrade=TIGHT)


def folder(*budgets: BudgetConfig) -> Folder:
    return Folder(keys=KeysConfig(keys=(KEY,)), budgets=BudgetsConfig(budgets=budgets))


async def test_the_client_passes_is_moved_to_the_cheaper_model_and_is_stopped() -> None:
    drill = await walk(folder(REAL), app="shop", model="gpt-4.1", calls=10)
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
        await walk(folder(REAL.model_copy(update={"hard_stop": False})), app="shop", model="gpt-4.1", calls=10)
    with pytest.raises(UserError, match=r"no key of app shpo in keys\.yaml: name one of shop"):
        await walk(folder(REAL), app="shpo", model="gpt-4.1", calls=10)
