"""What a detector's source says of itself: its words, what stands beside its fields and figures, and its example."""

from __future__ import annotations

import ast
import doctest
import inspect
import io
import tokenize
from collections.abc import Iterator
from itertools import zip_longest
from types import ModuleType
from typing import Final, NamedTuple

import numpy as np

from detectors.close import Close, Shared, Told
from detectors.population import Population
from detectors.state import Array, KeyTable, State
from schemas.config.detectors import DetectorsConfig, DetectorSettings

_FOR_TOOLS: Final = ("fmt:", "noqa", "type:")
_MODEL: Final = "gpt-5-pro"  # what the strange model of an example is called: examples know hashes only


class Note(NamedTuple):
    """A name in the source with what is written of it."""

    name: str
    value: str
    meaning: str


def words_of(doc: str | None) -> tuple[str, str]:
    r"""The prose of a docstring, and its example.

    >>> words_of("A sum.\n\n    >>> 1 + 1\n    2\n    ")
    ('A sum.', '>>> 1 + 1\n2')
    """
    paragraphs = inspect.cleandoc(doc or "").split("\n\n")
    shown = [each for each in paragraphs if each.startswith(">>>")]
    return "\n\n".join(each for each in paragraphs if each not in shown), "\n".join(shown)


def fields_of(module: ModuleType) -> list[Note]:
    """The state a detector keeps of a key: bytes, and the comment behind each field."""
    beside = dict(_entries(inspect.getsource(module), "FIELDS"))
    return [
        Note(name, str(KeyTable({name: field}).row_bytes), beside.get(name, ""))
        for name, field in module.FIELDS.items()
    ]


def figures_in(source: str) -> list[Note]:
    """Constants of a module that say what they are: in a docstring under them, or in a comment beside them."""
    comments, body = _comments(source), ast.parse(source).body
    found = []
    for node, after in zip_longest(body, body[1:]):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        name = ast.unparse(node.target if isinstance(node, ast.AnnAssign) else node.targets[0]).strip("()")
        meaning = _docstring(after) or _beside(comments, node.lineno, node.end_lineno)
        if meaning and name != "FIELDS":
            found.append(Note(name, ast.unparse(node.value), meaning))
    return found


class Sentence(NamedTuple):
    """What a finding says, and the raw score at which it does."""

    raw: float
    told: Told


def sentences_of(module: ModuleType) -> list[Sentence]:
    """What findings say of the seconds in the example of `step`: of each kind of sentence the loudest.

    Raises ValueError when the example does not show what it says.
    """
    seconds: list[tuple[float, State, Close]] = []

    def step(state: State, close: Close, settings: DetectorSettings) -> tuple[State, Array]:
        new, raw = module.step(state, close, settings)
        seconds.append((float(raw[0]), new, close))
        return new, raw

    known = {**vars(module), "step": step}
    test = doctest.DocTestParser().get_doctest(module.step.__doc__ or "", known, module.__name__, None, None)
    said: list[str] = []
    if doctest.DocTestRunner(verbose=False).run(test, out=said.append).failed:
        raise ValueError("".join(said))
    kinds: dict[str, Sentence] = {}
    shared = _strangers()
    for raw, state, close in (second for second in seconds if second[0] > 0):
        told: Told = module.explain(state, close, shared, DetectorSettings(), at=0, raw=raw)
        if told.detector not in kinds or raw > kinds[told.detector].raw:
            kinds[told.detector] = Sentence(raw, told)
    return list(kinds.values())


def _strangers() -> Shared:
    """What a key shares with others before anything is learned."""
    new = Population(DetectorsConfig())
    return Shared(np.zeros(1, int), new.prior_log[:1], new.forest, lambda _hash: _MODEL, lambda _hash: "")


def _entries(source: str, name: str) -> Iterator[tuple[str, str]]:
    """Each key of a dictionary written out in the source, with the comment beside it."""
    comments = _comments(source)
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant):
                    yield str(key.value), _beside(comments, key.lineno, value.end_lineno)


def _comments(source: str) -> dict[int, str]:
    """By line, without those that are meant for tools."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    return {line: text.partition("  #")[0] for line, text in texts.items() if not text.startswith(_FOR_TOOLS)}


def _beside(comments: dict[int, str], first: int, last: int | None) -> str:
    lines = range(first, (last or first) + 1)
    return " ".join(comments[line] for line in lines if line in comments).rstrip(",")


def _docstring(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""
