"""docs/threat-model.md: how keys are stolen and abused, what is there against it, and the tests that prove it.

python -m service.threat_page > docs/threat-model.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from controls.posture import AT_THE_GATE, WORDS
from controls.threats import THREATS, Threat

_HEAD: Final = """# Threat model

<!-- Made by `python -m service.threat_page` from controls/threats.py; a test keeps it true. -->

How keys are stolen and abused, how Keyfuse is meant to be turned against its owner, what is there against each, and the
test that proves it. `keyfuse threat-model --team search --out threats.md` fills it in for a team: which of its keys
have nothing against which threat, and what that could cost ([blast radius](blast-radius.md)).

Whatever a person has to do is not counted as a control. A control of the gate is counted only where a thief has to pass
it.
"""


def page() -> str:
    """The whole page."""
    lines = [_HEAD, "| threat | found by | bounded by |", "|---|---|---|"]
    for threat in THREATS:
        bounds = ", ".join(control.replace("_", " ") for control in threat.limits) or "not a matter of a key's settings"
        lines.append(f"| [{threat.title}](#{_anchor(threat.title)}) | {threat.found_by} | {bounds} |")
    for threat in THREATS:
        lines += ["", *_section(threat)]
    lines += ["", "## The controls of a key", "", "| control | means | where it is set |", "|---|---|---|"]
    for control, (means, where) in WORDS.items():
        gate = " (at the gate)" if control in AT_THE_GATE else ""
        lines.append(f"| {control.replace('_', ' ')} | {means}{gate} | {where} |")
    return "\n".join(lines)


def _section(threat: Threat) -> Iterator[str]:
    yield f"## {threat.title}"
    yield ""
    yield threat.story
    yield ""
    yield f"- **Found by:** {threat.found_by}."
    for control in threat.limits:
        means, where = WORDS[control]
        yield f"- **Bounded when** {means}: {where}."
    yield f"- **What happens:** {threat.answer}."
    yield f"- **Proved by:** {', '.join(f'`{proof}`' for proof in threat.proofs)}."


def _anchor(title: str) -> str:
    kept = (letter for letter in title.lower() if letter.isalnum() or letter in " -")
    return "".join(kept).replace(" ", "-")


if __name__ == "__main__":
    sys.stdout.write(f"{page()}\n")
