"""What a gate counts, as metrics: worked out when somebody looks, so that a call costs no more than a sum."""

from __future__ import annotations

import traceback
from collections import Counter
from typing import get_args

import structlog

from gate.decide import Decider
from gate.reservations import SettleState
from schemas.verdict import GateState
from streams.metrics import Metrics

log = structlog.get_logger()


def show(metrics: Metrics, decider: Decider, shown: Counter[str], *, news_age_s: float) -> Counter[str]:
    """Add what was counted since `shown`; returns what is shown now."""
    now = Counter(decider.counts)
    for state in get_args(GateState):
        metrics.inc("keyfuse_gate_answers_total", now[state] - shown[state], state=state)
    for result in get_args(SettleState):
        said = f"settle_{result}"
        metrics.inc("keyfuse_gate_settles_total", now[said] - shown[said], result=result)
    metrics.inc("keyfuse_gate_settles_total", now["expired"] - shown["expired"], result="expired")
    metrics.inc("keyfuse_gate_unpriced_total", now["unpriced"] - shown["unpriced"])
    metrics.set("keyfuse_gate_reservations", len(decider.reservations))
    metrics.set("keyfuse_gate_news_age_seconds", news_age_s)
    return now


def failed(metrics: Metrics, error: Exception) -> None:
    """A call could not be judged. Never what the error says: that may be of a client's."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    metrics.inc("keyfuse_gate_failed_total")
    log.error("the gate cannot judge a call", why=type(error).__name__, where=f"{where.name}:{where.lineno}")
