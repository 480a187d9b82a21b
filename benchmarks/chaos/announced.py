"""Whether people were told of each incident, under one identity, and not more often than can be explained. Pure."""

from __future__ import annotations

from collections import Counter

from benchmarks.chaos.collected import Collected
from benchmarks.chaos.told import copies, messages, other_keys, unexplained
from benchmarks.chaos.traffic import Traffic
from benchmarks.chaos.verdict import Verdict, verdict


def announced(_: Traffic, left: Collected) -> Verdict:
    board, wrong = left.board, list[str]()
    for one, incident in left.incidents.items():
        posts, pages, hooks = board.slack_posts(one), board.pages(one), board.hooks(one)
        told = {"Slack": len(posts), "PagerDuty": pages.count("trigger"), "the webhook": len(hooks)}
        wrong += [f"{name} was never told of {one} of {incident.key_id}" for name, count in told.items() if not count]
        shown = {"Slack": board.slack_shows(one), "the webhook": max((hook["seq"] for hook in hooks), default=0)}
        wrong += [
            f"{name} shows version {seq} of {one}, not {incident.seq}"
            for name, seq in shown.items()
            if seq != incident.seq
        ]
    per_key = Counter(incident.key_id for incident in left.incidents.values())
    wrong += [f"{count} incidents of {key}" for key, count in per_key.items() if count > 1]
    wrong += other_keys(board, left.incidents)
    again = messages(board)
    for channel, told_there in again.items():
        moments_s = [*left.reasons.lost_answers_s.get(channel, ()), *left.reasons.moments_s]
        wrong += [
            f"{channel} was told {count} times more of {one} than lost answers, workers and broker explain"
            for one, count in sorted(unexplained(told_there, moments_s).items())
        ]
    figures = ", ".join(f"{channel} {copies(told_there)}" for channel, told_there in again.items())
    return verdict(
        "each incident told on each channel, under one identity, and again only for a reason",
        f"{len(left.incidents)} incidents on 3 channels; told again, each after a fault of its own: {figures}", wrong,
    )  # fmt: skip
