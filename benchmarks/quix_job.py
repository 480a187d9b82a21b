"""The naive agent's job in Quix Streams, as its documentation writes such a job. Runs in `.venv/quix`.

    .venv/quix/bin/python -m benchmarks.quix_job --bootstrap HOST:PORT --raw TOPIC --group G --events N [--keyed]

JSON deserialiser; `group_by` the key, for its state belongs to the key of a record; the running sum of each key in its
state with `stateful=True`; at least once, RocksDB and changelog as they come. River's `GaussianScorer` for each key,
kept in the process as in the naive agent. `--keyed`: the records have that key already, and are not regrouped. Measured
from the first event that reaches the function to the last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from typing import Any

from quixstreams import Application, State
from river.anomaly import GaussianScorer

from benchmarks.contender import Stopwatch, asked


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the application until its last event."""
    models: dict[str, Any] = defaultdict(lambda: GaussianScorer(window_size=None, grace_period=100))  # type: ignore[no-untyped-call]  # River ships no types
    seen, watch = 0, Stopwatch()

    def score(event: dict[str, Any], state: State) -> None:
        nonlocal seen
        if seen == 0:
            watch.begin()
        value = event["input_tokens"] + event["output_tokens"]
        state.set("tokens", state.get("tokens", default=0) + value)
        model = models[event["key_id"]]
        model.score_one(None, value)
        model.learn_one(None, value)
        seen += 1
        if seen == arguments.events:
            watch.end()
            app.stop()

    with tempfile.TemporaryDirectory() as directory:
        app = Application(
            broker_address=arguments.bootstrap, consumer_group=arguments.group, auto_offset_reset="earliest",
            state_dir=directory, loglevel="ERROR",
        )  # fmt: skip
        topic = app.topic(arguments.raw, key_deserializer="str", value_deserializer="json")
        events = app.dataframe(topic)
        if not arguments.keyed:
            events = events.group_by("key_id")
        events.update(score, stateful=True)
        app.run()
    return watch.measured(arguments.events)


def main() -> None:
    parser = asked()
    parser.add_argument("--keyed", action="store_true")
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
