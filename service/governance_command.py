"""`keyfuse governance`: one page on how well keys are governed, as words, HTML, Markdown or JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from rich.console import Console

from alerting.words import clean
from controls.budgets import covers
from controls.governance import Facts, Line, Report, report
from controls.posture import Posture
from schemas.config.budgets import BudgetConfig
from schemas.exception import PolicyException
from schemas.records import rfc3339
from service.blast_command import seen_by
from service.errors import UserError
from service.install import wall_ms
from service.issued import Known, open_all
from service.markdown import md
from service.markup import el, joined
from service.planes_kept import kept
from service.postures import postures

Format = Literal["text", "html", "md", "json"]
_BY_SUFFIX: Final[dict[str, Format]] = {".html": "html", ".htm": "html", ".md": "md", ".json": "json"}
_COLOURS: Final = {"met": "#2e7d52", "partly": "#b7791f", "missing": "#c0392b", "nothing to judge": "#777777"}


def governance(config: Path, *, team: str, env: str, to: Path | None, at_least: int | None, out: Console) -> int:
    """Write or print it. The exit code: 1 when the score is below `at_least`."""
    made = report(facts_of(open_all(config), team=team, env=env))
    if to is None:
        out.print(_text(made), markup=False)
    else:
        kind = _BY_SUFFIX.get(to.suffix.lower())
        if kind is None:
            raise UserError(f"--out {to}: end it with .html, .md or .json")
        try:
            to.write_text(_RENDER[kind](made), encoding="utf-8")
        except OSError as error:
            raise UserError(f"--out {to}: cannot be written: {error.strerror}") from error
        out.print(f"wrote {to}; score {_score(made)}", markup=False)
    return int(at_least is not None and (made.score or 0) < at_least)


def facts_of(known: Known, *, team: str = "", env: str = "") -> Facts:
    """All that the report goes by; what cannot be asked is named in it."""
    install = known.install
    at_ms, config = wall_ms(), install.folder.budgets
    found = postures(install, seen_by(install), at_ms=at_ms, team=team, env=env)
    if not found and (team or env):
        raise UserError(f"no registered key{f' of team {team}' if team else ''}{f' in {env}' if env else ''}")
    told = kept(install)
    keys = {each.entry.key_id for each in found}

    def covered(each: Posture) -> list[BudgetConfig]:
        return [one for one in config.budgets if covers(one, each.entry.key_id, each.entry.facts())]

    mine = {one.name for each in found for one in covered(each)}
    narrow = bool(team or env)
    return Facts(
        found, [one for one in config.budgets if not narrow or one.name in mine], covered,
        sorted(name for name, person in install.folder.people.people.items() if person.role in {"approver", "admin"}),
        [one for one in told.exceptions if not narrow or _concerns(one, team, env)],
        [one for one in told.rotations if not narrow or one.key_id in keys or one.old in keys],
        [one for one in told.follow_ups if not narrow or one.key_id in keys], at_ms,
        "; ".join(filter(None, (known.said, told.said))),
    )  # fmt: skip


def _concerns(one: PolicyException, team: str, env: str) -> bool:
    return (not team or not one.teams or team in one.teams) and (not env or not one.envs or env in one.envs)


def _score(made: Report) -> str:
    return "none: there is nothing to judge" if made.score is None else f"{made.score} of 100"


def _text(made: Report) -> str:
    lines = [f"score {_score(made)}, {rfc3339(made.at_ms)[:16].replace('T', ' ')} UTC", ""]
    for line in made.lines:
        share = "" if line.share is None else f"{100 * line.share:.0f} %"
        lines.append(f"{line.state:<16} {share:>5}  {line.title}")
        lines += [f"{'':24}{clean(words, 300)}" for words in line.evidence]
    said = ["", made.said] if made.said else []
    return "\n".join([*lines, *said, "", *_next(made, "next:", "  - ")])


def _next(made: Report, title: str, bullet: str) -> Iterator[str]:
    yield title
    if not made.next_steps:
        yield f"{bullet}nothing: every line is met"
    yield from (f"{bullet}{words}" for words in made.next_steps)


def _markdown(made: Report) -> str:
    lines = [
        "# Governance of LLM API keys", "",
        f"Score **{_score(made)}**, {rfc3339(made.at_ms)}. {md(made.said)}".rstrip(), "",
        "| line | state | share | evidence | to do |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for line in made.lines:
        share = "" if line.share is None else f"{line.met} of {line.of}"
        lines.append(f"| {line.title} | {line.state} | {share} | {_cell(line.evidence)} | {_cell(line.todo)} |")
    return "\n".join([*lines, "", *_next(made, "## Next, what gains most first\n", "1. ")]) + "\n"


def _cell(words: tuple[str, ...]) -> str:
    return "<br>".join(md(each) for each in words)


def _html(made: Report) -> str:
    style = files("service").joinpath("templates", "governance.css").read_text(encoding="utf-8")
    rows = [_row(line) for line in made.lines]
    heads = [el("th", name) for name in ("line", "state", "share", "evidence", "to do")]
    steps = [el("li", *_words(words)) for words in made.next_steps] or [el("li", "nothing: every line is met")]
    body = joined(
        el("h1", "Governance of LLM API keys"),
        el("p", "Score ", el("strong", _score(made)), f", {rfc3339(made.at_ms)}. ", *_words(made.said)),
        el("table", el("thead", el("tr", *heads)), el("tbody", *rows)),
        el("h2", "Next, what gains most first"), el("ol", *steps),
    )  # fmt: skip
    head = joined(
        el("meta", charset="utf-8"), el("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        el("title", "Governance of LLM API keys"), el("style", style),
    )  # fmt: skip
    return f"<!doctype html>\n{el('html', el('head', head), el('body', body), lang='en')}\n"


def _row(line: Line) -> str:
    width = 0 if line.share is None else round(100 * line.share)
    bar = el("div", el("div", style=f"width:{width}%;background:{_COLOURS[line.state]}"), class_="bar")
    share = "" if line.share is None else f"{line.met} of {line.of}"
    return el(
        "tr", el("td", line.title), el("td", line.state, style=f"color:{_COLOURS[line.state]}"),
        el("td", share, bar), el("td", *(el("p", *_words(words)) for words in line.evidence)),
        el("td", *(el("p", *_words(words)) for words in line.todo)),
    )  # fmt: skip


def _words(text: str) -> Iterator[str]:
    """What stands between backquotes is code."""
    for number, part in enumerate(text.split("`")):
        yield el("code", part) if number % 2 else part


def _json(made: Report) -> str:
    lines: list[dict[str, Any]] = [{**line._asdict(), "state": line.state, "share": line.share} for line in made.lines]
    return orjson.dumps({**made._asdict(), "lines": lines}, option=orjson.OPT_INDENT_2).decode() + "\n"


_RENDER: Final[dict[str, Callable[[Report], str]]] = {"html": _html, "md": _markdown, "json": _json}
