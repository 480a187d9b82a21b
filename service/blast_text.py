"""The blast radius in words: a line for each key, or everything about one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from alerting.words import clean, span, usd
from controls.blast_radius import Missing, Radius, together_usd
from service.blast_look import Look

_ROWS: Final = 200
_WORTH: Final = 8


class Found(NamedTuple):
    """One key: what bears on it, what it comes to, what would help."""

    look: Look
    radius: Radius
    missing: tuple[Missing, ...]


def table(found: Sequence[Found], after: Sequence[Found] | None) -> str:
    """One line a key, the largest first; then what is worth adding over all of them."""
    then = {each.radius.key_id: each.radius for each in after or ()}
    proposed = f"{'proposed day':>12} " if after else ""
    lines = [f"{'worst hour':>12} {'worst day':>12} {proposed} {'acceptable':>10}  ends at"]
    for each in found[:_ROWS]:
        now = each.radius
        proposed = f"{usd(then[now.key_id].day_usd) if now.key_id in then else 'gone':>12} " if after else ""
        mark = "" if now.within else "OVER  "
        entry = each.look.entry
        owner = clean(f"{entry.team}/{entry.app} in {entry.env}, {entry.provider}", 80)
        lines.append(
            f"{usd(now.hour_usd):>12} {usd(now.day_usd):>12} {proposed} {usd(now.acceptable_usd):>10}  "
            f"{mark}{_ends(now)}  {clean(now.key_id)} ({owner})"
        )
    if len(found) > _ROWS:
        lines.append(f"… and {len(found) - _ROWS} more; --json has all of them")
    hour_usd, day_usd = together_usd([each.radius for each in found])
    lines += ["", f"all {len(found)} at once: {usd(hour_usd)} in an hour, {usd(day_usd)} in a day", *_worth(found)]
    return "\n".join(lines)


def _worth(found: Sequence[Found]) -> list[str]:
    """Missing controls over all keys, by what they take off the sum."""
    sums: dict[str, tuple[float, int]] = {}
    for each in found:
        for one in each.missing:
            usd_so_far, keys = sums.get(one.name, (0.0, 0))
            sums[one.name] = usd_so_far + one.removes_usd, keys + 1
    ranked = sorted(sums.items(), key=lambda item: (-item[1][0], item[0]))[:_WORTH]
    if not ranked:
        return []
    return ["", "worth adding, by what it takes off the worst day:"] + [
        f"{usd(removed):>12}  {name}, for {keys} key{'s' if keys > 1 else ''}" for name, (removed, keys) in ranked
    ]


def one_key(found: Found, after: Found | None) -> str:
    """Everything about one key."""
    now, looked, exposure = found.radius, found.look, found.look.exposure
    entry = looked.entry
    lines = [
        f"key        {clean(now.key_id)} ({clean(f'{entry.team}/{entry.app} in {entry.env}, {entry.provider}', 120)})",
        f"worst      {usd(now.hour_usd)} in an hour, {usd(now.day_usd)} in a day; it ends at {_ends(now)}",
        f"acceptable {usd(now.acceptable_usd)} in {clean(now.env)}: {'kept' if now.within else 'PASSED'}",
        f"pace       at most {usd(exposure.most_usd_per_min)}/min ({exposure.most_words})",
        f"cut        {exposure.cut.words if exposure.cut else 'nothing stops it'}",
        f"gate       {_gate(looked)}",
        f"breaks     {clean(looked.breaks, 300)}",
        *([f"also hits  {clean(', '.join(looked.also_hits), 300)}"] if looked.also_hits else []),
        f"backup     {clean(looked.backup) or 'none is registered: its users stop when it is cut'}",
        "", "a thief at full pace, each control alone:",
        *[f"  {span(bite.after_s):>9}  {usd(bite.usd):>12}  {bite.name}" for bite in now.bites],
        *(["  nothing bites within a day"] if not now.bites else []),
    ]  # fmt: skip
    if after is not None:
        then = after.radius
        worst = f"{usd(then.hour_usd)} in an hour, {usd(then.day_usd)} in a day"
        lines += ["", f"proposed   {worst}; it ends at {_ends(then)}"]
    if found.missing:
        lines += ["", "worth adding, by what it takes off the worst day:"]
        lines += [f"  {usd(each.removes_usd):>12}  {each.name}\n{'':16}{each.setting}" for each in found.missing]
    return "\n".join(lines)


def _gate(looked: Look) -> str:
    if looked.gated:
        return "in the way: budgets and policies bind whoever holds the key"
    return "a thief goes around it: budgets and policies of the gate are not counted"


def _ends(now: Radius) -> str:
    return now.bound_by or "nothing"
