"""What the emergency switch would do to each key, with whom else it hits: at the terminal and in Slack alike."""

from __future__ import annotations

from typing import NamedTuple

from alerting.words import clean
from containment.kill import Cut, cut_for
from containment.plan import people_for
from schemas.records import KeyFacts
from service.backups import users_words
from service.errors import UserError
from service.install import Install
from service.plan_command import hits_of, hits_words
from service.request_commands import steps_for_people


class Order(NamedTuple):
    """One key of the list."""

    key_id: str
    facts: KeyFacts
    cut: Cut
    people: int
    also_hits: tuple[str, ...]
    backup: str = ""  # what its users go on with, in words


def order_for(install: Install, key_id: str, facts: KeyFacts, *, revoke: bool, wider: bool) -> Order:
    """What would be done to one key; `cut.step` is None where it is nothing."""
    try:
        steps = steps_for_people(install, key_id, facts)
    except UserError as error:
        return Order(key_id, facts, Cut(None, str(error)), 0, ())
    cut = cut_for(steps, revoke=revoke, wider=wider)
    if cut.step is None:
        return Order(key_id, facts, cut, 0, ())
    hits = hits_of(install, key_id, facts, steps)
    people = people_for(steps[cut.step], facts.env)
    return Order(key_id, facts, cut, people, hits[cut.step], users_words(install, key_id, cut.step))


def line(order: Order) -> str:
    """One key in one line."""
    facts = order.facts
    owner = clean(f"{facts.team}/{facts.app} in {facts.env}, {facts.provider}", 120)
    marks = ", PROTECTED" if facts.protected else ""
    if order.cut.step is None:
        return f"{clean(order.key_id)} ({owner}{marks}): NOT CUT: {clean(order.cut.why)}"
    people = f"; {order.people} people must order it" if order.people > 1 else ""
    hits = f"; also hits {hits_words(order.also_hits)}" if order.also_hits else ""
    return f"{clean(order.key_id)} ({owner}{marks}): {order.cut.step}, {order.cut.why}{people}{hits}; {order.backup}"
