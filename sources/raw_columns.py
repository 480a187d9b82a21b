"""JSON lines to columns at once, by Arrow's reader, with the types of the event model and before any check.

Arrow reads JSON as strictly as orjson but for these: it takes NaN and infinities, it goes on in fields that it ignores
where orjson finds them nested too deeply, and it refuses a field that comes twice. The first two are looked for here
and in `sources.numbers`; the third ends in Doubt like everything that it refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Final

import orjson
import pyarrow as pa
from pyarrow import json as arrow_json

from schemas.event import UsageEvent
from sources.doubt import Doubt
from sources.lines import Lines, lines_of

TEXTS: Final = (
    "event_id", "key_id", "key", "provider", "model", "endpoint", "error", "ip", "country", "user_agent", "user_id",
    "team", "app", "env",
)  # fmt: skip
WHOLES: Final = (
    "requests", "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "status", "asn",
)  # fmt: skip
FRACTIONS: Final = ("cost_usd", "latency_ms")
_KINDS: Final = (
    dict.fromkeys(TEXTS, pa.string()) | dict.fromkeys(WHOLES, pa.int64()) | dict.fromkeys(FRACTIONS, pa.float64())
)
_REPEATED: Final = frozenset(TEXTS) - {"event_id"}  # each distinct value once
_NAMES: Final = frozenset(UsageEvent.model_fields)
_NESTED_SAFELY: Final = 1000  # brackets in one event; orjson takes 1,024, one in the other


class RawColumns:
    """Remembers which fields producers use: those that nobody does cost time all the same."""

    def __init__(self) -> None:
        self._usual: frozenset[str] = frozenset({"event_id", "ts"})

    def read(self, lines: Lines) -> pa.RecordBatch:
        """The fields of native events; Doubt when the text is not that, or is not surely what orjson would read."""
        first = _first(lines)
        if first.keys() <= self._usual:
            try:
                return _table(lines, self._usual, first)
            except Doubt:
                pass  # another event has other fields
        _check_ignored(lines)
        found = _table(lines, _NAMES, first, others="ignore")
        self._usual |= {name for name in found.schema.names if found[name].null_count < found.num_rows}
        return found


def read_docs(docs: Iterable[Mapping[str, Any]]) -> pa.RecordBatch:
    """The same of native events that were decoded before."""
    lines = lines_of_docs(docs)
    return _table(lines, _NAMES, _first(lines))


def lines_of_docs(docs: Iterable[Mapping[str, Any]]) -> Lines:
    """Native events that were decoded before, without the fields that are not ours."""
    known = [{name: value for name, value in doc.items() if name in _NAMES} for doc in docs]
    if not all(map(isfinite, [value for doc in known for value in doc.values() if type(value) is float])):
        raise Doubt  # orjson would write null
    try:
        return lines_of([orjson.dumps(doc) for doc in known])
    except TypeError:  # a whole number or a text that JSON cannot hold
        raise Doubt from None


def _first(lines: Lines) -> dict[str, Any]:
    try:
        first = orjson.loads(lines.text[: int(lines.stop[0])])
    except orjson.JSONDecodeError:
        raise Doubt from None
    if not isinstance(first, dict) or "event_id" not in first:
        raise Doubt
    return first


def _check_ignored(lines: Lines) -> None:
    """Nothing that orjson would refuse may hide in a field that Arrow passes over."""
    text = lines.text
    if _in_a_number(b"NaN", text) or _in_a_number(b"Inf", text):
        raise Doubt
    if lines.longest() <= _NESTED_SAFELY:
        return
    start = 0
    for stop in lines.stop.tolist():
        if stop - start > _NESTED_SAFELY and text.count(b"[", start, stop) + text.count(b"{", start, stop) > (
            _NESTED_SAFELY
        ):
            raise Doubt
        start = stop


def _in_a_number(word: bytes, text: bytes) -> bool:
    """Whether it stands somewhere a number may; in some texts it does so, too."""
    at = text.find(word)
    while at >= 0 and text[at - 1] not in b" \t\r\n:,[-":
        at = text.find(word, at + 1)
    return at >= 0


def _table(lines: Lines, names: frozenset[str], first: Mapping[str, Any], *, others: str = "error") -> pa.RecordBatch:
    kinds = _KINDS | {"ts": pa.string() if isinstance(first.get("ts"), str) else pa.float64()}
    schema = pa.schema([(name, kinds[name]) for name in sorted(names)])
    try:
        table = arrow_json.read_json(
            pa.py_buffer(lines.text),
            # One thread and one block: the pool costs more than it saves, and a type holds for all of the text.
            arrow_json.ReadOptions(use_threads=False, block_size=len(lines.text) + 1),
            arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=others),
        )
    except pa.ArrowInvalid:
        raise Doubt from None
    if table.num_rows != len(lines.record):
        raise Doubt
    whole = table.combine_chunks()
    columns = [
        column.chunk(0).dictionary_encode() if name in _REPEATED else column.chunk(0)
        for name, column in zip(whole.schema.names, whole.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, whole.schema.names)
