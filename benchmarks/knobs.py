"""What settings of detectors.yaml do to the alerts per week, on made-up traffic that nobody steals from.

python -m benchmarks.knobs [--days 4] [--keys 40] [--only NAME]   # writes results/knobs.json and docs/tuning.md

At the default rates too little happens in a few days to show what a setting does: all are counted with every
`alarm_per_key_week` at 3. About twenty minutes on one core: what is learned otherwise is played by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa

from detectors.beside import SecondJudge, learns_alike
from detectors.families import CALIBRATED
from schemas.config import DetectorsConfig, WiringConfig
from schemas.config.detectors import DetectorSettings
from service.backtest_side import Side
from service.config_tree import Folder
from service.play import new_core
from service.tune_command import PlantedEvents
from sources.simulator.keys import make_keys
from sources.simulator.traffic import generate

ROOT: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results" / "knobs.json"
PAGE: Final = ROOT / "docs" / "tuning.md"
BEGIN, END = "<!-- knobs -->\n", "<!-- /knobs -->"
START_MS: Final = 1_795_392_000_000  # Monday, 2026-11-23
DAY_MS: Final = 86_400_000
SEED: Final = 6
TOUCHY: Final = {family: {"alarm_per_key_week": 3.0} for family in CALIBRATED}
Change = dict[str, dict[str, Any]]


def _each(names: tuple[str, ...], setting: dict[str, Any]) -> Change:
    return dict.fromkeys(names, setting)


COUNTING: Final = ("mix", "origin", "economics", "rhythm", "errors", "repetition")
CHANGES: Final[dict[str, Change]] = {
    "alarm_per_key_week: 3 everywhere": {},
    "alarm_per_key_week: as shipped": {
        family: {"alarm_per_key_week": getattr(DetectorSettings(), family).alarm_per_key_week} for family in CALIBRATED
    },
    "alarm_per_key_week: 0.1 everywhere": _each(CALIBRATED, {"alarm_per_key_week": 0.1}),
    "alarm_per_key_week: 0.3 everywhere": _each(CALIBRATED, {"alarm_per_key_week": 0.3}),
    "alarm_per_key_week: 1 everywhere": _each(CALIBRATED, {"alarm_per_key_week": 1.0}),
    "alarm_per_key_week: 0.01 everywhere": _each(CALIBRATED, {"alarm_per_key_week": 0.01}),
    **{f"{name}.enabled: false": {name: {"enabled": False}} for name in CALIBRATED},
    "limits.usd_per_min: 0.2": {"limits": {"usd_per_min": 0.2}},
    "limits.usd_per_hour: 2": {"limits": {"usd_per_hour": 2.0}},
    "limits.requests_per_s: 2": {"limits": {"requests_per_s": 2.0}},
    "budget.usd_per_day: 5": {"budget": {"usd_per_day": 5.0}},
    "velocity.min_usd_per_min: 0": {"velocity": {"min_usd_per_min": 0.0}},
    "velocity.min_usd_per_min: 0.5": {"velocity": {"min_usd_per_min": 0.5}},
    "velocity.warmup_windows: 6": {"velocity": {"warmup_windows": 6}},
    "velocity.warmup_windows: 144": {"velocity": {"warmup_windows": 144}},
    "time.refractory_s: 600": {"time": {"refractory_s": 600}},
    "velocity.decay_per_10min: 0.99": {"velocity": {"decay_per_10min": 0.99}},
    "velocity.hour_weight: 0": {"velocity": {"hour_weight": 0.0}},
    "velocity.hour_weight: 0.5": {"velocity": {"hour_weight": 0.5}},
    "min_requests: 200 everywhere": _each(COUNTING, {"min_requests": 200}),
    "drift.delta: 0.05": {"drift": {"delta": 0.05}},
    "cohort.n_trees: 3": {"cohort": {"n_trees": 3}},
    "cohort.height: 3": {"cohort": {"height": 3}},
    "cohort.window_samples: 1000": {"cohort": {"window_samples": 1000}},
}  # fmt: skip
"""Each to the defaults with all rates at 3, which is the first."""


def settings_of(change: Change) -> DetectorsConfig:
    """The touchy defaults with the change."""
    data: dict[str, Any] = {name: dict(rates) for name, rates in TOUCHY.items()}
    for name, section in change.items():
        data[name] = {**data.get(name, {}), **section}
    return DetectorsConfig.model_validate(data)


def frames(*, keys: int, days: float) -> Iterator[pa.RecordBatch]:
    """The owners' traffic, as `keyfuse simulate` makes it, in the order of time."""
    parse, offset = PlantedEvents(), 0
    made = make_keys(keys, seed=SEED, min_active_share=0.05)
    events = generate(made, start_ms=START_MS, duration_s=days * 86_400, seed=SEED)
    while part := [orjson.dumps(event) for event in islice(events, 5_000)]:
        rows = parse(part)
        numbers = pa.array(range(offset, offset + rows.num_rows), pa.int64())
        yield rows.set_column(1, rows.schema.field(1), numbers)
        offset += rows.num_rows


def count(names: list[str], *, keys: int, days: float) -> dict[str, float]:
    """Alerts per week of changes that all learn as the first of them does."""
    weeks = (days - 1) / 7
    folder = Folder(wiring=WiringConfig.model_validate({"kafka": {"partitions": 1}}),
                    detectors=settings_of(CHANGES[names[0]]))  # fmt: skip
    core = new_core(folder, 0)
    judges = {name: SecondJudge(core, settings_of(CHANGES[name])) for name in names[1:]}
    sides = {name: Side(folder, {}, from_ms=START_MS + DAY_MS) for name in names}
    for rows in frames(keys=keys, days=days):
        sides[names[0]].take(core.process(rows))
        for name, judge in judges.items():
            sides[name].take(judge.process(rows))
    sides[names[0]].take(core.advance((START_MS + int(days * DAY_MS)) // 1000 + 1))
    for name, judge in judges.items():
        sides[name].take(judge.advance(0))
    return {name: round(len(side.incidents()) / weeks, 1) for name, side in sides.items()}


def groups() -> list[list[str]]:
    """Changes that one core can serve together."""
    shared, own = [], []
    for name, change in CHANGES.items():
        alike = learns_alike(settings_of({}), settings_of(change))
        shared.append(name) if alike else own.append([name])
    return [shared, *own]


def render(result: dict[str, Any]) -> str:
    """The table of docs/tuning.md."""
    lines = [
        f"{result['keys']} keys, {result['days']:g} days, the first of which only teaches; nobody steals.", "",
        "| change | alerts per week |", "|---|---:|",
    ]  # fmt: skip
    lines += [f"| `{name}` | {alerts:g} |" for name, alerts in result["changes"].items()]
    return "\n".join(lines) + "\n"


def written(page: str, table: str) -> str:
    """The page with the table in its place."""
    head, rest = page.split(BEGIN)
    return head + BEGIN + table + END + rest.split(END, 1)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=4.0)
    parser.add_argument("--keys", type=int, default=40)
    parser.add_argument("--only", default="", help="count one change and write nothing")
    asked = parser.parse_args()
    found: dict[str, float] = {}
    for names in [[asked.only]] if asked.only else groups():
        print(", ".join(names), file=sys.stderr, flush=True)
        found |= count(names, keys=asked.keys, days=asked.days)
    result = {
        "keys": asked.keys,
        "days": asked.days,
        "changes": {name: found[name] for name in CHANGES if name in found},
    }
    print(render(result))
    if not asked.only:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), render(result)), encoding="utf-8")


if __name__ == "__main__":
    main()
